"""What `ASGARD_ENV=production` binds: steps as Kubernetes pods (dagster-k8s), S3 and secrets (dagster-aws).

No secret is in any of it. Pods read S3 keys from the Kubernetes secret `S3_SECRET_NAME`, or have none and use
the role of their service account.
"""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource
from dagster_k8s import k8s_job_executor
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings


class Cluster(BaseSettings):
    """Where pods run; the names are those of the deployment's environment."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True)

    namespace: str = Field(alias="PIPELINE_NAMESPACE", description="Namespace of runs, steps and Spark.")
    image: str = Field(
        alias="SPARK_IMAGE", description="Image of steps and drivers, pinned by tag or digest."
    )
    service_account: str = Field(alias="SPARK_SERVICE_ACCOUNT", description="Service account of the pods.")
    s3_secret: str | None = Field(
        default=None,
        alias="S3_SECRET_NAME",
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    )
    max_concurrent_steps: int = Field(default=8, alias="ASGARD_MAX_CONCURRENT_STEPS", ge=1)
    step_memory: str = Field(default="2Gi", alias="ASGARD_STEP_MEMORY", description="Memory of a step's pod.")
    step_cpu: str = Field(
        default="500m", alias="ASGARD_STEP_CPU", description="CPU that a step's pod asks for."
    )

    @classmethod
    def from_environment(cls) -> Cluster:
        """Raises ConfigError that names every variable which is missing or wrong."""
        try:
            return cls()  # pyright: ignore[reportCallIssue]
        except ValidationError as error:
            wrong = ", ".join(f"{e['loc'][0]} ({e['msg'].lower()})" for e in error.errors())
            raise ConfigError(f"ASGARD_ENV=production needs the environment variables: {wrong}") from error


def production_resources(settings: Settings) -> dict[str, Any]:
    """S3 and secrets. Raises ConfigError where the lake is not on S3."""
    if not settings.lake_root.startswith("s3://"):
        raise ConfigError(
            f"ASGARD_ENV=production keeps its tables on S3, but ASGARD_LAKE is {settings.lake_root!r}; "
            "set ASGARD_LAKE=s3://bucket/prefix"
        )
    with warnings.catch_warnings():
        # The secrets resource is marked beta; its version is pinned with the rest.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return {
            "s3": S3Resource(region_name=settings.s3_region, endpoint_url=settings.s3_endpoint),
            "secrets": SecretsManagerResource(region_name=settings.s3_region),
        }


def production_executor(cluster: Cluster | None = None) -> dg.ExecutorDefinition:
    """One pod a step, a bounded number of them a run; pods go with their run."""
    cluster = cluster or Cluster.from_environment()
    return k8s_job_executor.configured(
        {
            "job_namespace": cluster.namespace,
            "job_image": cluster.image,
            "service_account_name": cluster.service_account,
            "env_secrets": [cluster.s3_secret] if cluster.s3_secret else [],
            "max_concurrent": cluster.max_concurrent_steps,
            "enable_owner_references": True,
            "step_k8s_config": step_pod(cluster),
        }
    )


def step_pod(cluster: Cluster) -> dict[str, Any]:
    """The shape of a step's pod, checked by dagster-k8s against Kubernetes' own models."""
    user = {"run_as_non_root": True, "run_as_user": 10001, "seccomp_profile": {"type": "RuntimeDefault"}}
    pod = UserDefinedDagsterK8sConfig.from_dict(
        {
            "container_config": {
                "resources": {
                    "requests": {"cpu": cluster.step_cpu, "memory": cluster.step_memory},
                    "limits": {"memory": cluster.step_memory},
                },
                "security_context": {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}},
            },
            "pod_spec_config": {"security_context": user},
            "job_spec_config": {"ttl_seconds_after_finished": 3600, "backoff_limit": 0},
        }
    )
    return {key: value for key, value in pod.to_dict().items() if value and key != "merge_behavior"}
