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

from asgard_assets.errors import ConfigError
from asgard_assets.resources.cluster import Cluster
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings


def production_resources(settings: Settings) -> dict[str, Any]:
    """S3 and secrets. Raises ConfigError where the lake is not on S3."""
    if not is_remote(settings.lake_root):
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
            "job_image": cluster.platform_image or cluster.image,
            "service_account_name": cluster.dagster_account or cluster.service_account,
            "env_secrets": cluster.pod_secrets,
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
