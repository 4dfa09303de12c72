"""Who may ask Kubernetes for what: a run for sizes, an asset for the shape of its pods, the deployment for everything.

Whoever may launch a run must not choose what it runs as: another image or account, the node's files, a Secret of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from asgard_assets.errors import ConfigError
from asgard_assets.spark.application import DRIVER, EXECUTOR, DynamicAllocation, Gpu

TAG, POD_TAG = "asgard/spark", "dagster-k8s/config"
_TUNED = Literal[
    "spark.sql.shuffle.partitions", "spark.default.parallelism", "spark.sql.files.maxPartitionBytes"
]


class _Size(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class PodSize(_Size):
    """How large a pod is."""

    cores: int | None = Field(default=None, description="How many tasks run at once in the pod.")
    core_request: str | None = Field(default=None, description="CPU that the pod asks for.")
    core_limit: str | None = Field(default=None, description="Most CPU that the pod may use.")
    memory: str | None = Field(default=None, description="JVM heap, for example 2g.")
    memory_overhead: str | None = Field(default=None, description="Memory beside the JVM heap.")
    gpu: Gpu | None = Field(default=None, description="GPUs of the pod.")


class ExecutorSize(PodSize):
    """How large executors are, and how many."""

    instances: int | None = Field(default=None, description="Number of executors.")


class Size(_Size):
    """What a run may say of its Spark application."""

    driver: PodSize = Field(default=PodSize(), description="Size of the driver's pod.")
    executor: ExecutorSize = Field(default=ExecutorSize(), description="Size and number of executors.")
    dynamic_allocation: DynamicAllocation | None = Field(
        default=None, description="Let Spark change the number of executors."
    )
    spark_conf: dict[_TUNED, str] = Field(
        default_factory=dict[_TUNED, str], description="Into how many parts Spark cuts its work."
    )


def sizes_only(source: str, part: Mapping[str, Any]) -> None:
    """Raises ConfigError where a run asks for more than sizes."""
    try:
        Size.model_validate(part, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"{source}: a run may set sizes only (cores, memory, number of executors): {wrong}. What else its pods are "
            "belongs to the asset or to the deployment"
        ) from error


# Keys of pods and containers, in any spelling, by which a pod leaves its box or becomes somebody else.
_REFUSED = frozenset(
    "hostnetwork hostpid hostipc hostusers hostpath hostport hostaliases privileged procmount serviceaccount "
    "serviceaccountname automountserviceaccounttoken envfrom valuefrom secret secretname projected csi nfs iscsi "
    "flexvolume nodename runtimeclassname initcontainers ephemeralcontainers shareprocessnamespace "
    "allowprivilegeescalation runasuser runasgroup runasnonroot capabilities selinuxoptions windowsoptions "
    "seccompprofile apparmorprofile lifecycle".split()
)
_FREE = frozenset("envvars labels annotations nodeselector matchlabels hadoopconf".split())
_CONF = re.compile(
    r"spark\.(authenticate|network\.crypto|io\.encryption|ssl|ui|acls)\b|spark\.kubernetes\."
    r"(authenticate|namespace|context|master|(driver|executor)\.(secrets|secretKeyRef|volumes\..*hostPath|podTemplateFile))",
    re.IGNORECASE,
)


def shape_only(source: str, part: Mapping[str, Any]) -> None:
    """Raises ConfigError where an asset asks for what would give its pods other rights than the deployment gave them."""
    if found := next(_rights(part, ""), None):
        raise ConfigError(
            f"{source}: {found} is the deployment's to give (ASGARD_SPARK_SPEC, driver_k8s, run_launcher); an asset may "
            "set sizes, nodes, volumes without files of the node, and its image"
        )


def _is_less(name: str, value: Any) -> bool:
    """Whether the value only takes rights away."""
    if name == "capabilities":
        return isinstance(value, Mapping) and not set(value) - {"drop"}
    return value is None or value is (name == "runasnonroot")


def _rights(part: Any, path: str) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _rights(each, path)
    if not isinstance(part, Mapping):
        return
    for key, value in part.items():
        name, here = str(key).replace("_", "").lower(), f"{path}.{key}".lstrip(".")
        if name in _REFUSED and not _is_less(name, value):
            yield here
        elif name == "sparkconf" and isinstance(value, Mapping):
            yield from (f"{here}.{conf}" for conf in value if _CONF.match(str(conf)))
        elif name == "containers" and isinstance(value, list):
            others = [one.get("name") for one in value if one.get("name") not in (DRIVER, EXECUTOR)]
            yield from (f"{here} {other}" for other in others)
            yield from _rights(value, here)
        elif name not in _FREE:
            yield from _rights(value, here)


def check_step_tags(tags: Mapping[str, str], source: str) -> None:
    """Raises ConfigError where the tags of a step ask for rights that are the deployment's to give."""
    for tag in (TAG, POD_TAG):
        shape_only(f"{source}, tag {tag}", tag_value(tags, tag, source))


def tag_value(tags: Mapping[str, str], tag: str, source: str) -> Mapping[str, Any]:
    """What a tag holds. Raises ConfigError where it is no JSON object."""
    try:
        value = json.loads(tags.get(tag, "{}"))
    except ValueError as error:
        raise ConfigError(f"{source}: tag {tag} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: tag {tag} must hold an object, for example "
                          '{"executor": {"instances": 4}}')  # fmt: skip
    return value
