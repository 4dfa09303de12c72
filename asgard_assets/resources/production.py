"""What production needs: steps as Kubernetes pods (dagster-k8s), secrets in AWS (dagster-aws), a lake on S3.

No secret is in any of it. Pods read S3 keys from the Kubernetes secret `S3_SECRET_NAME`, or have none and use
the role of their service account.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from asgard_assets.resources.cluster import Cluster


def require_s3(settings: Settings) -> None:
    """Raises ConfigError where the lake is not on S3."""
    if not is_remote(settings.lake_root):
        raise ConfigError(
            f"ASGARD_ENV=production keeps its tables on S3, but ASGARD_LAKE is {settings.lake_root!r}; "
            "set ASGARD_LAKE=s3://bucket/prefix"
        )


def production_executor(cluster: Cluster | None = None) -> dg.ExecutorDefinition:
    """One pod a step, a bounded number of them a run; pods go with their run."""
    from dagster_k8s import k8s_job_executor

    from asgard_assets.resources.cluster import Cluster

    cluster = cluster or Cluster.from_environment()
    return k8s_job_executor.configured(
        {
            "job_namespace": cluster.platform_namespace or cluster.namespace,
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
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

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


class SecretsResource(dg.ConfigurableResource):
    """Reads what a source names by `aws-secret:NAME#KEY`. Keys come from where AWS's own tools take them."""

    region: str = Field(default="us-east-1", description="AWS region of the secrets.")

    def read(self, name: str) -> str:
        """The text of a secret. Raises ConfigError where it cannot be had, SourceError where AWS does not answer."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
            NoCredentialsError,
        )
        from dagster_aws.secretsmanager import SecretsManagerResource

        with warnings.catch_warnings():
            # Marked beta; its version is pinned with the rest.
            warnings.simplefilter("ignore", dg.BetaWarning)
            client = SecretsManagerResource(region_name=self.region).get_client()
        where = f"the secret {name} in AWS Secrets Manager ({self.region})"
        try:
            found = client.get_secret_value(SecretId=name)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _THEIR_FAULT:
                raise SourceError(f"{where} cannot be read now ({code}); try again", source=name) from error
            hint = _HINTS.get(code, "look at the policy of the keys or the role")
            raise ConfigError(f"{where} cannot be read ({code}): {hint}", mentions=name) from error
        except (ConnectionError, HTTPClientError) as error:
            raise SourceError(f"{where} cannot be read: no answer ({error})", source=name) from error
        except NoCredentialsError as error:
            raise ConfigError(
                f"{where} cannot be read: there are no AWS keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "give the pod a role",
                mentions=name,
            ) from error
        except BotoCoreError as error:
            raise ConfigError(f"{where} cannot be read: {error}", mentions=name) from error
        text = found.get("SecretString")
        if text is None:
            raise ConfigError(f"{where} is binary; store it as text", mentions=name)
        return text


_THEIR_FAULT = frozenset(
    {"InternalServiceError", "ThrottlingException", "ServiceUnavailable", "InternalFailure"}
)
_HINTS = {
    "ResourceNotFoundException": "there is none of this name; correct the reference, or the region (ASGARD_S3_REGION)",
    "InvalidRequestException": "it is deleted, or waits to be",
    "UnrecognizedClientException": "AWS does not know the keys; correct them",
    "ExpiredTokenException": "the session token has expired; renew it",
}


def read_aws_secret(name: str) -> str:
    """The same where there are no Dagster resources: in commands."""
    return SecretsResource(region=Settings().s3_region).read(name)
