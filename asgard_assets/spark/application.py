"""SparkApplication, the Spark operator's object, in its own field names and with its own structure.

A deployment, an asset and a run each say a part of the `spec`; `merged` joins them and an unknown or misspelled
field is refused by name. What the operator's pod fields lack is in `template`, a Kubernetes pod template.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from asgard_assets.errors import ConfigError

DRIVER, EXECUTOR = "spark-kubernetes-driver", "spark-kubernetes-executor"
_MEMORY = re.compile(r"(\d+)([kmgt])b?", re.IGNORECASE)
_SECRET_WORDS = frozenset(
    "secret password passwd passphrase pwd token oauthtoken apikey sas credential".split()
)
_KEYS = frozenset("access account api private secret shared storage signing encryption master".split())
# These name a Secret of Kubernetes or a class, and hold none themselves.
_NAMES_ONE = re.compile(r"spark\.kubernetes\.(driver|executor)\.secretKeyRef\.|.*credentials\.provider$")


def names_a_secret(name: str) -> bool:
    """Whether a setting or variable of this name holds a secret: `fs.s3a.session.token`, `DB_PASSWD`, `apiKey`."""
    if _NAMES_ONE.match(name):
        return False
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())
    pairs = zip(words, words[1:], strict=False)
    return not _SECRET_WORDS.isdisjoint(words) or any(b == "key" and a in _KEYS for a, b in pairs)


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Gpu(_Part):
    """GPUs of a pod, by the device plugin's resource name."""

    name: str = Field(description="Resource name of the GPU, for example nvidia.com/gpu.")
    quantity: int = Field(ge=1, description="How many GPUs the pod gets.")


class PodSpec(_Part):
    """What driver and executors share."""

    cores: int | None = Field(default=1, ge=1, description="How many tasks run at once in the pod.")
    core_request: str | None = Field(default=None, description="CPU that the pod asks for, for example 500m.")
    core_limit: str | None = Field(
        default=None, description="Most CPU that the pod may use, for example 2 or 1500m."
    )
    memory: str | None = Field(default=None, description="JVM heap, for example 2g.")
    memory_overhead: str | None = Field(
        default=None, description="Memory beside the JVM heap, for Python, for example 512m."
    )
    gpu: Gpu | None = Field(default=None, description="GPUs of the pod. Default: none.")
    image: str | None = Field(
        default=None, description="Image of the pod. Default: the image of the application."
    )
    env_vars: dict[str, str] | None = Field(
        default=None,
        description="Environment variables of the pod. No secrets: anybody may read an application.",
    )
    labels: dict[str, str] | None = Field(default=None, description="Kubernetes labels of the pod.")
    annotations: dict[str, str] | None = Field(default=None, description="Kubernetes annotations of the pod.")
    node_selector: dict[str, str] | None = Field(
        default=None, description="Labels that a node must have for the pod to run there."
    )
    tolerations: list[dict[str, Any]] | None = Field(
        default=None, description="Taints of nodes that the pod accepts, as Kubernetes writes them."
    )
    affinity: dict[str, Any] | None = Field(
        default=None, description="Rules on which nodes the pod runs, as Kubernetes writes them."
    )
    volume_mounts: list[dict[str, Any]] | None = Field(
        default=None, description="Where `volumes` of the application appear in the pod."
    )
    scheduler_name: str | None = Field(
        default=None, description="Kubernetes scheduler that places the pod. Default: the cluster's."
    )
    priority_class_name: str | None = Field(default=None, description="Kubernetes priority class of the pod.")
    service_account: str | None = Field(default=None, description="Kubernetes service account of the pod.")
    java_options: str | None = Field(default=None, description="Options for the JVM, such as -Dname=value.")
    template: dict[str, Any] | None = Field(
        default=None, description="Kubernetes pod template, for what the other fields cannot say."
    )

    @field_validator("memory", "memory_overhead")
    @classmethod
    def _sparks_units(cls, size: str | None) -> str | None:
        if size is not None and not _MEMORY.fullmatch(size):
            raise ValueError(
                f"{size!r} is no memory size of Spark's; write 512m or 2g (not 1.5g, not Mi or Gi)"
            )
        return size

    @field_validator("env_vars")
    @classmethod
    def _no_secrets(cls, variables: dict[str, str] | None) -> dict[str, str] | None:
        return _without_secrets(variables)

    @field_validator("java_options")
    @classmethod
    def _no_secret_options(cls, options: str | None) -> str | None:
        _without_secrets(dict.fromkeys(re.findall(r"-D([\w.-]+)=", options or ""), ""))
        return options


def _without_secrets(given: dict[str, str] | None) -> dict[str, str] | None:
    if named := sorted(key for key in given or {} if names_a_secret(key)):
        raise ValueError(
            f"{named[0]}: anybody may read an application; name a Secret in S3_SECRET_NAME or ASGARD_POD_SECRETS"
        )
    return given


class DriverSpec(PodSpec):
    """The driver's pod. It has no `podName`: the launcher finds it by the attempt's name."""


class ExecutorSpec(PodSpec):
    instances: int | None = Field(
        default=None,
        ge=1,
        description="Number of executors. With dynamicAllocation: the number at the start.",
    )
    delete_on_termination: bool | None = Field(
        default=None, description="Delete the pods of executors that have ended."
    )


class DynamicAllocation(_Part):
    enabled: bool = Field(default=True, description="Add executors while tasks wait, and remove idle ones.")
    initial_executors: int | None = Field(default=None, ge=0, description="Executors at the start.")
    min_executors: int | None = Field(default=None, ge=0, description="Fewest executors.")
    max_executors: int | None = Field(default=None, ge=1, description="Most executors.")
    shuffle_tracking_enabled: bool | None = Field(
        default=True, description="Keep executors whose shuffle files are still needed."
    )
    shuffle_tracking_timeout: int | None = Field(
        default=None, description="Milliseconds after which such an executor may go anyway."
    )


class RestartPolicy(_Part):
    """A step's attempts are Dagster's: a driver that the operator started again would write over its messages."""

    type: Literal["Never"] = "Never"


class SparkApplicationSpec(_Part):
    type: Literal["Python", "Scala", "Java", "R"] = "Python"
    python_version: Literal["3"] | None = Field(default="3", description="Major version of Python.")
    mode: Literal["cluster"] = Field(
        default="cluster", description="Where the driver runs: in a pod of the cluster."
    )
    spark_version: str = Field(default="4.2.0", description="Version of Spark in the image.")
    image: str = Field(description="Image of driver and executors.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image again, as Kubernetes names it."
    )
    image_pull_secrets: list[str] | None = Field(
        default=None, description="Names of the Secrets that a node needs to pull the image."
    )
    main_class: str | None = Field(default=None, description="Class to run. Only for Scala and Java.")
    main_application_file: str = Field(default="", description="Program to run. The step launcher sets it.")
    arguments: list[str] | None = Field(
        default=None, description="Arguments of the program. The step launcher sets them."
    )
    spark_conf: dict[str, str] = Field(
        default_factory=dict,
        description="Settings of Spark, such as spark.sql.shuffle.partitions. No secrets.",
    )
    hadoop_conf: dict[str, str] | None = Field(
        default=None,
        description="Settings of Hadoop's file systems, such as fs.s3a.connection.maximum. No secrets.",
    )
    volumes: list[dict[str, Any]] | None = Field(
        default=None, description="Volumes that pods mount, as Kubernetes writes them."
    )
    driver: DriverSpec = Field(
        default=DriverSpec(core_request="250m", memory="1g", memory_overhead="768m"),
        description="The driver's pod.",
    )
    executor: ExecutorSpec = Field(
        default=ExecutorSpec(
            instances=2, core_request="250m", memory="1g", memory_overhead="512m", delete_on_termination=True
        ),
        description="The executors' pods.",
    )
    dynamic_allocation: DynamicAllocation | None = Field(
        default=None, description="Let Spark change the number of executors. Default: it stays."
    )
    restart_policy: RestartPolicy = Field(
        default=RestartPolicy(),
        description="What the operator does when the driver fails: nothing, Dagster retries the step.",
    )
    time_to_live_seconds: int | None = Field(
        default=20, gt=0, description="The operator deletes an ended application whose host did not."
    )
    batch_scheduler: str | None = Field(
        default=None, description="Batch scheduler that starts all pods together, such as volcano."
    )
    batch_scheduler_options: dict[str, Any] | None = Field(
        default=None, description="Options of the batch scheduler, such as its queue."
    )
    monitoring: dict[str, Any] | None = Field(
        default=None, description="How metrics of driver and executors are exposed, in the operator's fields."
    )

    @field_validator("spark_conf", "hadoop_conf")
    @classmethod
    def _no_secrets(cls, conf: dict[str, str] | None) -> dict[str, str] | None:
        return _without_secrets(conf)


class Metadata(_Part):
    name: str = Field(max_length=63, description="Name of the object, unique in its namespace.")
    namespace: str = Field(description="Kubernetes namespace of the object.")
    labels: dict[str, str] = Field(default_factory=dict, description="Kubernetes labels of the object.")
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Kubernetes annotations of the object."
    )


class SparkApplication(_Part):
    api_version: Literal["sparkoperator.k8s.io/v1beta2"] = Field(
        default="sparkoperator.k8s.io/v1beta2", description="API version of the Spark operator's object."
    )
    kind: Literal["SparkApplication"] = Field(default="SparkApplication", description="Kind of the object.")
    metadata: Metadata = Field(description="Name, namespace and labels of the object.")
    spec: SparkApplicationSpec = Field(description="What to run, and in which pods.")

    def manifest(self) -> dict[str, Any]:
        """The object as the API server takes it."""
        return self.model_dump(by_alias=True, exclude_none=True)


def merged(parts: Mapping[str, Mapping[str, Any]]) -> SparkApplicationSpec:
    """The spec of `parts`, by where each comes from; later ones over earlier ones, field by field.

    Null takes a field back to its default. Raises ConfigError naming each bad field and the part that it is in.
    """
    whole: dict[str, Any] = {}
    for source, part in parts.items():
        _check(source, part)
        _merge(whole, part)
    whole = {key: value for key, value in whole.items() if value is not None}
    given = {name: whole.get(name, {}) for name in ("driver", "executor")}
    for name, said in given.items():
        default = SparkApplicationSpec.model_fields[name].default
        whole[name] = {**default.model_dump(by_alias=True, exclude_none=True), **said}
    if "dynamicAllocation" in whole and whole["dynamicAllocation"].get("enabled", True):
        # With a number of its own, Spark would begin with that many, whatever the bounds.
        whole["executor"]["instances"] = given["executor"].get("instances")
    return _validated(" with ".join(parts), whole)


def _check(source: str, part: Mapping[str, Any]) -> None:
    """Validate what one part says on its own, so that an error names it."""
    alone = {"image": "unused", **{key: value for key, value in part.items() if value is not None}}
    for name in ("driver", "executor"):
        if name in alone and not isinstance(alone[name], Mapping):
            raise ConfigError(f"{source}: {name} must be a mapping of {name.title()}Spec's fields")
    _validated(source, alone)


def _validated(source: str, whole: Mapping[str, Any]) -> SparkApplicationSpec:
    try:
        return SparkApplicationSpec.model_validate(whole, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{source}: not a SparkApplication's spec: {wrong}") from error


def grown(memory: str, factor: float) -> str:
    """A memory size times `factor`, in whole mebibytes: `grown("1g", 1.5)` is `1536m`."""
    found = _MEMORY.fullmatch(memory)
    if found is None:
        raise ConfigError(f"{memory!r} is no memory size; write 512m or 2g")
    scale = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
    return f"{int(int(found.group(1)) * scale[found.group(2).lower()] * factor)}m"


_POD_FIELDS = ("node_selector", "tolerations", "affinity", "scheduler_name", "priority_class_name")


def shaped(part: PodSpec, name: str, volumes: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The part's pod template with what the operator's fields say of the pod's shape, and those fields cleared.

    The operator applies these fields by its webhook, and without one leaves them out silently.
    """
    said = part.model_dump(by_alias=True, exclude_none=True, include={*_POD_FIELDS, "volume_mounts", "gpu"})
    mounts, gpu = said.pop("volumeMounts", None), said.pop("gpu", None)
    container: dict[str, Any] = {"volumeMounts": mounts} if mounts else {}
    if gpu:
        container["resources"] = {"limits": {gpu["name"]: str(gpu["quantity"])}}
    template = with_container(part.template, name, container)
    template["spec"].update(said)
    if volumes:
        template["spec"]["volumes"] = [*template["spec"].get("volumes", []), *volumes]
    return {"template": template} | dict.fromkeys((*_POD_FIELDS, "volume_mounts", "gpu"))


def with_container(
    template: Mapping[str, Any] | None, name: str, container: Mapping[str, Any]
) -> dict[str, Any]:
    """The pod template with `container` added to what it says of the container called `name`."""
    whole = copy.deepcopy(dict(template or {}))
    containers = whole.setdefault("spec", {}).setdefault("containers", [])
    one: dict[str, Any] | None = next((c for c in containers if c.get("name") == name), None)
    if one is None:
        one = {"name": name}
        containers.insert(0, one)
    for key, value in container.items():
        if isinstance(value, Mapping):
            _merge(one.setdefault(key, {}), value)
        else:
            one[key] = [*one.get(key, []), *value] if isinstance(value, list) else value
    return whole


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add `part`, field by field; null takes a field back to its default."""
    for key, value in part.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
