"""Steps as SparkApplications: the launcher of Kubernetes, over S3. The host polls; it opens neither Spark nor a JVM.

What an asset needs is said in the operator's own fields, by deployment (`spec`), by asset (op tag `asgard/spark`,
or `dagster-k8s/config` for the driver's pod) and by run (run tag `asgard/spark`, JSON): later ones win. A run may set
sizes only, and an asset nothing that gives its pods other rights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import dagster as dg
from pydantic import Field

from asgard_assets.errors import ConfigError
from asgard_assets.resources import steps
from asgard_assets.resources.launcher import SparkStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.application import (
    DRIVER,
    EXECUTOR,
    SparkApplicationSpec,
    grown,
    merged,
    with_container,
)
from asgard_assets.spark.diagnosis import Deadlines
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import RUN_LABEL, KubernetesSubmitter
from asgard_assets.spark.rights import POD_TAG, TAG, check_step_tags, sizes_only, tag_value
from asgard_assets.spark.s3 import S3Transport
from asgard_assets.spark.session import lake_conf
from asgard_assets.spark.submit import Submitter
from asgard_assets.spark.transport import Transport

SPEC = "ASGARD_SPARK_SPEC"
CACHE_IN_IMAGE = "/opt/cache"
# Settings that a driver must share with its host. No secret is among them; those come from Kubernetes secrets.
SHARED = (
    "env lake landing partition_start partition_end time_zone lookback_days owner s3_endpoint s3_region"
).split()


class KubernetesStepLauncher(SparkStepLauncher):
    """Launches steps as SparkApplications of the Spark operator; `folder` is an address on S3."""

    namespace: str = Field(description="Where applications run (PIPELINE_NAMESPACE).")
    image: str = Field(
        description="Image of driver and executors (SPARK_IMAGE), of the same code as this host."
    )
    service_account: str = Field(description="The drivers' service account (SPARK_SERVICE_ACCOUNT).")
    s3_secret: str = Field(
        default="",
        description="Secret with the S3 keys (S3_SECRET_NAME); empty: the pods' account has a role.",
    )
    secrets: list[str] = Field(
        default_factory=list,
        description="Names of more Secrets whose keys are variables of the pods: tokens of sources.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="More environment variables of the pods. No secrets: anybody may read them.",
    )
    kubeconfig: str | None = Field(
        default=None,
        description="File with the access to the cluster. Default: $KUBECONFIG, or the pod's own account.",
    )
    spec: dict[str, Any] = Field(
        default_factory=dict, description="Defaults of each SparkApplication, in the operator's field names."
    )
    driver_k8s: dict[str, Any] = Field(
        default_factory=dict, description="Driver pods, in dagster-k8s' configuration (pod_spec_config …)."
    )
    executor_k8s: dict[str, Any] = Field(
        default_factory=dict, description="Executor pods, in dagster-k8s' configuration."
    )
    operator_seconds: float = Field(default=300, gt=0, description="Longest time until a driver pod exists.")
    image_seconds: float = Field(default=20, gt=0, description="How long an image may fail to be pulled.")
    start_seconds: float = Field(
        default=300,
        gt=0,
        description="Longest time that a driver pod may be pending: a new node takes minutes.",
    )
    executor_seconds: float = Field(default=300, gt=0, description="Longest time without any executor.")
    unreachable_seconds: float = Field(
        default=180, gt=0, description="Longest time to wait for an API server that is out of reach."
    )
    poll_seconds: float = Field(
        default=0.5, gt=0, description="Pause between two looks at the exchange on S3."
    )
    look_seconds: float = Field(default=5, gt=0, description="Pause between two looks at the API server.")
    memory_growth: float = Field(
        default=1.0, ge=1, le=4, description="Factor on driver memory after each OOMKilled attempt; 1: none."
    )

    other_code: ClassVar[tuple[str, str]] = (
        "its image holds another version",
        "build the image from this code and name it in SPARK_IMAGE (make image), or deploy the host again",
    )

    def submitter(self, step_context: steps.StepExecutionContext) -> Submitter:
        run = step_context.dagster_run
        labels = {
            RUN_LABEL: run.run_id,
            "asgard/step": step_context.step.key,
            "asgard/attempt": str(step_context.previous_attempt_count),
        }
        if step_context.has_partition_key:
            labels["asgard/partition"] = step_context.partition_key
        return KubernetesSubmitter(
            Api.connect(self.kubeconfig),
            self.namespace,
            self.application_spec(step_context),
            env=self.pod_environment(),
            secrets=self.pod_secrets,
            labels=labels,
            annotations={"asgard/step-key": step_context.step.key},
            limits=Deadlines(
                self.operator_seconds, self.image_seconds, self.start_seconds, self.executor_seconds
            ),
            poll_seconds=self.look_seconds,
            unreachable_seconds=self.unreachable_seconds,
        )

    def transport(self, prefix: str) -> Transport:
        settings = Settings()
        return S3Transport.at(f"{self.folder}/{prefix}", settings.s3_endpoint, settings.s3_region)

    @property
    def pod_secrets(self) -> list[str]:
        """All Secrets whose keys are variables of the pods."""
        return [name for name in (self.s3_secret, *self.secrets) if name]

    def pod_environment(self) -> dict[str, str]:
        """Variables of driver and executors that are no secrets."""
        settings = Settings()
        shared = {f"ASGARD_{name.upper()}": getattr(settings, name) for name in SHARED}
        given = {name: str(value) for name, value in shared.items() if value is not None}
        cluster = {
            "PIPELINE_NAMESPACE": self.namespace,
            "SPARK_IMAGE": self.image,
            "SPARK_SERVICE_ACCOUNT": self.service_account,
            "S3_SECRET_NAME": self.s3_secret,
        }
        if "ENVIRONMENT" in os.environ:
            cluster["ENVIRONMENT"] = os.environ["ENVIRONMENT"]
        if self.s3_secret:
            # Keys are there. Else AWS's libraries ask the node, and wait where pods do not reach it: 4 minutes a step.
            given["AWS_EC2_METADATA_DISABLED"] = "true"
        return {**given, **cluster, "ASGARD_LAUNCHER": "none", **self.environment}

    def application_spec(self, step_context: steps.StepExecutionContext) -> SparkApplicationSpec:
        """The application of this attempt. Raises ConfigError naming the field that is wrong."""
        return self.spec_for(
            step_context.op.tags,
            step_context.dagster_run.tags,
            growth=self.memory_growth ** self._out_of_memory(step_context),
            source=f"step {step_context.step.key}",
        )

    def spec_for(
        self,
        op_tags: Mapping[str, str],
        run_tags: Mapping[str, str],
        growth: float = 1.0,
        source: str = "step",
    ) -> SparkApplicationSpec:
        """The application of a step with these tags."""
        asset, run, pod = (
            tag_value(op_tags, TAG, source),
            tag_value(run_tags, TAG, "the run"),
            tag_value(op_tags, POD_TAG, source),
        )
        check_step_tags(op_tags, source)
        sizes_only(f"the run's tag {TAG}", run)
        parts = {
            "the deployment": {
                "image": self.image,
                "sparkConf": self._conf(),
                "driver": {"serviceAccount": self.service_account},
            },
            SPEC: self.spec,
            f"{source}, tag {TAG}": asset,
            f"the run's tag {TAG}": run,
        }
        spec = merged({name: part for name, part in parts.items() if part})
        driver, executor = spec.driver, spec.executor
        if growth > 1:
            larger = {
                name: grown(value, growth)
                for name in ("memory", "memory_overhead")
                if (value := getattr(driver, name))
            }
            driver = driver.model_copy(update=larger)
        for config in filter(None, (self.driver_k8s, pod)):
            driver = driver.model_copy(update={"template": pod_template(config, driver.template, DRIVER)})
        if self.executor_k8s:
            template = pod_template(self.executor_k8s, executor.template, EXECUTOR)
            executor = executor.model_copy(update={"template": template})
        return spec.model_copy(update={"driver": driver, "executor": executor})

    def _conf(self) -> dict[str, str]:
        return lake_conf(Settings(), CACHE_IN_IMAGE)

    def _out_of_memory(self, step_context: steps.StepExecutionContext) -> int:
        """How many attempts of this step ran out of memory."""
        if self.memory_growth == 1 or not step_context.previous_attempt_count:
            return 0
        log = step_context.instance.all_logs(step_context.run_id, dg.DagsterEventType.STEP_UP_FOR_RETRY)
        own = [e.dagster_event for e in log if e.step_key == step_context.step.key and e.dagster_event]
        return sum("OOMKilled" in str(event.event_specific_data) for event in own)


def pod_template(config: Mapping[str, Any], template: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """dagster-k8s' configuration of a pod, checked by Kubernetes' own models, as a pod template."""
    from dagster_k8s.job import UserDefinedDagsterK8sConfig
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
    from kubernetes.client import ApiClient, V1Container, V1ObjectMeta, V1PodSpec

    try:
        checked = UserDefinedDagsterK8sConfig.from_dict(dict(config))
    except Exception as error:
        raise ConfigError(f"{POD_TAG}: {error}") from error
    camel: Any = ApiClient().sanitize_for_serialization
    container = {"name": name, **checked.container_config}
    pod = {"containers": [], **checked.pod_spec_config}
    made: dict[str, Any] = {
        "spec": camel(k8s_model_from_dict(V1PodSpec, k8s_snake_case_dict(V1PodSpec, pod)))
    }
    if checked.pod_template_spec_metadata:
        made["metadata"] = camel(k8s_model_from_dict(V1ObjectMeta, checked.pod_template_spec_metadata))
    if template:
        for key, value in (template.get("spec") or {}).items():
            made["spec"].setdefault(key, value) if key != "containers" else made["spec"][key].extend(value)
    body: Any = camel(k8s_model_from_dict(V1Container, k8s_snake_case_dict(V1Container, container)))
    return with_container(made, name, {k: v for k, v in body.items() if k != "name"})
