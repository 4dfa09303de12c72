"""What the environment says of the cluster, and the step launcher that it asks for. Imports no Kubernetes client."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings
from asgard_assets.spark.application import names_a_secret

if TYPE_CHECKING:
    from asgard_assets.resources.kubernetes import KubernetesStepLauncher


class Cluster(BaseSettings):
    """Where pods run; the names are those of the deployment's environment."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True)

    namespace: str = Field(
        default="asgard",
        alias="PIPELINE_NAMESPACE",
        min_length=1,
        description="Kubernetes namespace of Spark's applications; of runs and steps too, unless PLATFORM_NAMESPACE is set.",
    )
    platform_namespace: str = Field(
        default="",
        alias="PLATFORM_NAMESPACE",
        description="Kubernetes namespace of runs and steps. Default: PIPELINE_NAMESPACE.",
    )
    image: str = Field(
        alias="SPARK_IMAGE",
        min_length=1,
        description="Image of Spark's drivers and executors, pinned by tag or digest.",
    )
    service_account: str = Field(
        default="spark-sa",
        alias="SPARK_SERVICE_ACCOUNT",
        min_length=1,
        description="Service account of Spark's drivers.",
    )
    platform_image: str = Field(
        default="",
        alias="PLATFORM_IMAGE",
        description="Image of runs and of steps without Spark; default: SPARK_IMAGE.",
    )
    dagster_account: str = Field(
        default="",
        alias="DAGSTER_SERVICE_ACCOUNT",
        description="Kubernetes service account of runs and steps, which may launch applications. "
        "Default: SPARK_SERVICE_ACCOUNT.",
    )
    s3_secret: str = Field(
        default="s3-credentials",
        alias="S3_SECRET_NAME",
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; empty: pods have a role.",
    )
    secrets: str = Field(
        default="",
        alias="ASGARD_POD_SECRETS",
        description="Names of more Secrets, by comma, whose keys are variables of Spark pods: tokens of "
        "sources.",
    )
    spark_spec: str = Field(
        default="{}",
        alias="ASGARD_SPARK_SPEC",
        description="Defaults of each SparkApplication, JSON in the operator's field names.",
    )
    options: str = Field(
        default="{}",
        alias="ASGARD_LAUNCHER_OPTIONS",
        description="Options of the step launcher, such as its deadlines, as JSON.",
    )
    pod_variables: str = Field(
        default="",
        alias="ASGARD_POD_VARIABLES",
        description="Names, by comma, of this host's variables that Spark pods need too; never secrets.",
    )
    exchange: str = Field(
        default="",
        alias="ASGARD_EXCHANGE",
        description="Where steps and events are exchanged; default: a prefix of the lake.",
    )
    max_concurrent_steps: int = Field(
        default=8,
        alias="ASGARD_MAX_CONCURRENT_STEPS",
        ge=1,
        description="Most steps of a run at the same time.",
    )
    step_memory: str = Field(default="2Gi", alias="ASGARD_STEP_MEMORY", description="Memory of a step's pod.")
    step_cpu: str = Field(
        default="500m", alias="ASGARD_STEP_CPU", description="CPU that a step's pod asks for."
    )

    @property
    def pod_secrets(self) -> list[str]:
        """All Secrets whose keys are variables of pods."""
        return [name for name in (self.s3_secret, *_names(self.secrets)) if name]

    @classmethod
    def from_environment(cls) -> Cluster:
        """Raises ConfigError that names every variable which is missing or wrong."""
        try:
            return cls()  # pyright: ignore[reportCallIssue]
        except ValidationError as error:
            wrong = ", ".join(f"{e['loc'][0]} ({e['msg'].lower()})" for e in error.errors())
            raise ConfigError(f"Kubernetes needs the environment variables: {wrong}") from error


def kubernetes_launcher(settings: Settings, cluster: Cluster | None = None) -> KubernetesStepLauncher:
    """The launcher of `ASGARD_LAUNCHER=kubernetes`. Raises ConfigError naming what is missing or wrong."""
    from asgard_assets.resources.kubernetes import KubernetesStepLauncher

    cluster = cluster or Cluster.from_environment()
    exchange = cluster.exchange or f"{settings.lake_root}/_launcher"
    if not is_remote(exchange):
        name, value = (
            ("ASGARD_EXCHANGE", exchange) if cluster.exchange else ("ASGARD_LAKE", settings.lake_root)
        )
        raise ConfigError(
            f"ASGARD_LAUNCHER=kubernetes needs a lake that pods reach, but {name} is {value!r}; "
            f"set {name}=s3://bucket/prefix"
        )
    found = project.find()
    wanted = [*_names(cluster.pod_variables), *(found.hooks.get("pod_variables", ()) if found else ())]
    if secret := [name for name in wanted if names_a_secret(name)]:
        raise ConfigError(
            f"ASGARD_POD_VARIABLES: {secret[0]} looks like a secret, and anybody may read an application; put it into a "
            "Kubernetes Secret and name that in ASGARD_POD_SECRETS (secrets.sources of the Helm chart)"
        )
    environment = {name: os.environ[name] for name in wanted if name in os.environ}
    given: dict[str, Any] = {
        "folder": exchange,
        "namespace": cluster.namespace,
        "image": cluster.image,
        "service_account": cluster.service_account,
        "s3_secret": cluster.s3_secret,
        "secrets": _names(cluster.secrets),
        "environment": environment,
        "spec": _object("ASGARD_SPARK_SPEC", cluster.spark_spec),
        "silence_seconds": 180,
    }
    options = _object("ASGARD_LAUNCHER_OPTIONS", cluster.options)
    known = KubernetesStepLauncher.model_fields.keys() - given.keys() | {"silence_seconds"}
    if unknown := sorted(options.keys() - known):
        raise ConfigError(
            f"ASGARD_LAUNCHER_OPTIONS has no field {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    try:
        launcher = KubernetesStepLauncher(**{**given, **options})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"ASGARD_LAUNCHER_OPTIONS: {wrong}") from error
    launcher.spec_for({}, {})  # what is misspelled is named now, not when a step starts
    return launcher


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _object(variable: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"{variable} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{variable} must hold a JSON object, but is {text!r}")
    return value
