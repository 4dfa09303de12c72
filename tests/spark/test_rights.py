"""Whoever may launch a run sets sizes; an asset shapes its pods; rights are the deployment's."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.platform.project import check_tags_of_steps
from asgard_assets.errors import ConfigError
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.application import names_a_secret


@pytest.fixture
def launcher(settings: Settings) -> KubernetesStepLauncher:
    return KubernetesStepLauncher(
        folder="s3://lake/_launcher", namespace="pipelines", image="asgard:1", service_account="spark"
    )


def container(**said: Any) -> dict[str, Any]:
    return {"driver": {"template": {"spec": {"containers": [{"name": "spark-kubernetes-driver", **said}]}}}}


def pod(**said: Any) -> dict[str, Any]:
    return {"executor": {"template": {"spec": said}}}


NOT_OF_A_STEP = [
    {"driver": {"serviceAccount": "asgard"}},
    pod(hostNetwork=True),
    pod(hostPID=True),
    pod(serviceAccountName="asgard"),
    pod(volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
    pod(volumes=[{"name": "keys", "secret": {"secretName": "asgard-postgres"}}]),
    pod(volumes=[{"name": "keys", "projected": {"sources": [{"secret": {"name": "asgard-postgres"}}]}}]),
    pod(initContainers=[{"name": "first", "image": "attacker/image:1"}]),
    pod(containers=[{"name": "shell", "image": "attacker/shell:1"}]),
    {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    container(securityContext={"privileged": True}),
    container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
    container(securityContext={"runAsUser": 0}),
    container(envFrom=[{"secretRef": {"name": "asgard-postgres"}}]),
    container(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "asgard-postgres", "key": "k"}}}]),
    {"sparkConf": {"spark.authenticate": "false"}},
    {"sparkConf": {"spark.kubernetes.authenticate.driver.serviceAccountName": "asgard"}},
    {"sparkConf": {"spark.kubernetes.driver.secretKeyRef.X": "asgard-postgres:k"}},
    {"sparkConf": {"spark.kubernetes.executor.volumes.hostPath.h.mount.path": "/h"}},
]
NOT_OF_A_RUN = [
    *NOT_OF_A_STEP,
    {"image": "attacker/image:1"},
    {"driver": {"image": "attacker/image:1"}},
    {"driver": None},
    {"driver": {"envVars": {"PATH": "/x"}}},
    {"driver": {"javaOptions": "-javaagent:/x.jar"}},
    {"executor": {"labels": {"a": "b"}}},
    {"executor": {"nodeSelector": {"a": "b"}}},
    {"sparkConf": {"spark.driver.extraJavaOptions": "-javaagent:/x.jar"}},
    {"sparkConf": {"spark.sql.extensions": "evil"}},
    {"hadoopConf": {"fs.s3a.endpoint": "http://evil"}},
    {"mainApplicationFile": "http://evil/x.py"},
    {"arguments": ["x"]},
    {"imagePullSecrets": ["x"]},
    {"monitoring": {}},
    {"timeToLiveSeconds": 1},
]


@pytest.mark.parametrize("asked", NOT_OF_A_RUN, ids=json.dumps)
def test_a_run_sets_nothing_but_sizes(launcher: KubernetesStepLauncher, asked):
    with pytest.raises(ConfigError, match="the run's tag asgard/spark: a run may set sizes only"):
        launcher.spec_for({}, {"asgard/spark": json.dumps(asked)})


@pytest.mark.parametrize("asked", NOT_OF_A_STEP, ids=json.dumps)
def test_a_step_gives_itself_no_rights(launcher: KubernetesStepLauncher, asked):
    with pytest.raises(ConfigError, match="tag asgard/spark: .* is the deployment's to give"):
        launcher.spec_for({"asgard/spark": json.dumps(asked)}, {})


@pytest.mark.parametrize(
    "asked",
    [
        {"pod_spec_config": {"host_network": True}},
        {"pod_spec_config": {"hostPID": True}},
        {"pod_spec_config": {"service_account_name": "spark"}},
        {"pod_spec_config": {"volumes": [{"name": "h", "host_path": {"path": "/"}}]}},
        {"container_config": {"env_from": [{"secret_ref": {"name": "anything"}}]}},
        {"container_config": {"security_context": {"privileged": True}}},
    ],
    ids=json.dumps,
)
def test_nor_by_dagster_s_own_tag(launcher: KubernetesStepLauncher, asked):
    with pytest.raises(ConfigError, match="tag dagster-k8s/config: .* is the deployment's to give"):
        launcher.spec_for({"dagster-k8s/config": json.dumps(asked)}, {})


def test_sizes_and_shapes_are_as_before(launcher: KubernetesStepLauncher):
    less = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    asset = container(securityContext=less) | {
        "image": "asgard:2",
        "executor": {"nodeSelector": {"disk": "fast"}},
        "volumes": [{"name": "s", "emptyDir": {}}],
    }
    run = {
        "driver": {"memory": "3g", "coreRequest": "2"},
        "executor": {"instances": 9, "gpu": {"name": "nvidia.com/gpu", "quantity": 1}},
        "dynamicAllocation": {"maxExecutors": 12},
        "sparkConf": {"spark.sql.shuffle.partitions": "400"},
    }
    spec = launcher.spec_for({"asgard/spark": json.dumps(asset)}, {"asgard/spark": json.dumps(run)})
    assert (spec.image, spec.driver.memory, spec.executor.instances) == ("asgard:2", "3g", 9)
    assert spec.spark_conf["spark.sql.shuffle.partitions"] == "400"
    assert spec.driver.service_account == "spark"


@pytest.mark.parametrize(
    "name",
    "spark.hadoop.fs.s3a.session.token spark.executorEnv.DB_PASSWD spark.kubernetes.driverEnv.API_TOKEN "
    "spark.hadoop.fs.azure.sas.token.provider spark.hadoop.fs.s3a.secret.key fs.azure.account.key.x.dfs apiKey "
    "AWS_SECRET_ACCESS_KEY spark.authenticate.secret spark.ssl.keyPassword MY_PRIVATE_KEY".split(),
)
def test_names_of_secrets_are_known(launcher: KubernetesStepLauncher, name):
    assert names_a_secret(name)
    for part in (
        {"sparkConf": {name: "x"}},
        {"hadoopConf": {name: "x"}},
        {"driver": {"envVars": {name: "x"}}},
        {"executor": {"javaOptions": f"-D{name}=x"}},
    ):
        with pytest.raises(ConfigError, match="anybody may read an application"):
            launcher.model_copy(update={"spec": part}).spec_for({}, {})


@pytest.mark.parametrize(
    "name",
    "spark.hadoop.fs.s3a.aws.credentials.provider spark.kubernetes.driver.secrets.tls spark.sql.shuffle.partitions "
    "spark.kubernetes.driver.secretKeyRef.X CRM_URL".split(),
)
def test_and_what_only_names_one_is_none(name):
    assert not names_a_secret(name)


@pytest.mark.parametrize("tag", ["asgard/spark", "dagster-k8s/config"])
def test_a_project_whose_steps_ask_for_rights_is_not_loaded(tag):
    said = (
        {"container_config": {"security_context": {"privileged": True}}}
        if "k8s" in tag
        else pod(hostPID=True)
    )

    @dg.asset(key=["gold", "usage"], op_tags={tag: json.dumps(said)})
    def usage() -> None: ...

    with pytest.raises(ConfigError, match="gold/usage, tag"):
        check_tags_of_steps(dg.Definitions(assets=[usage, dg.AssetSpec("other")]))


def test_spark_answers_nobody_without_the_application_s_secret(launcher: KubernetesStepLauncher):
    conf = launcher.spec_for({}, {}).spark_conf
    assert conf["spark.authenticate"] == conf["spark.network.crypto.enabled"] == "true"
    assert conf["spark.ui.enabled"] == "false"
