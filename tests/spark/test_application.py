"""An application is built from parts, in the operator's own field names; what is misspelled is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.resources.cluster import kubernetes_launcher
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.application import DRIVER, EXECUTOR, grown, merged
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import KubernetesSubmitter
from asgard_assets.spark.submit import Driver


def submitter(**parts: object) -> KubernetesSubmitter:
    api = Api.__new__(Api)
    spec = merged({"test": {"image": "asgard:1"}, "more": parts})
    return KubernetesSubmitter(
        api, "pipelines", spec, env={"ASGARD_LAKE": "s3://lake"}, secrets=["asgard-s3"]
    )


def test_an_application_has_two_executors_and_the_drivers_environment_is_a_secret() -> None:
    driver = Driver("asgard-1-2-0", "asgard_assets.resources.step_main", ["s3://x"], {"KEY": "canary"})
    manifest = submitter().application(driver).manifest()
    assert manifest["spec"]["executor"]["instances"] == 2
    assert manifest["spec"]["restartPolicy"] == {"type": "Never"}
    assert manifest["spec"]["mainApplicationFile"].endswith("/asgard_assets/resources/step_main.py")
    (container,) = manifest["spec"]["driver"]["template"]["spec"]["containers"]
    assert container["name"] == DRIVER
    assert {"name": "ASGARD_LAKE", "value": "s3://lake"} in container["env"]
    assert [e["secretRef"]["name"] for e in container["envFrom"]] == ["asgard-s3", "asgard-1-2-0-env"]
    (executor,) = manifest["spec"]["executor"]["template"]["spec"]["containers"]
    assert [e["secretRef"]["name"] for e in executor["envFrom"]] == ["asgard-s3"]
    assert "canary" not in json.dumps(manifest)


def test_what_everything_finds_the_pods_by_is_not_for_the_conf_to_say() -> None:
    conf = {"spark.kubernetes.driver.pod.name": "mine", "spark.executor.heartbeatInterval": "20s"}
    made = submitter(sparkConf=conf).application(Driver("asgard-1-2-0", "m")).manifest()["spec"]["sparkConf"]
    assert made["spark.kubernetes.driver.pod.name"] == "asgard-1-2-0-driver"
    assert made["spark.executor.heartbeatInterval"] == "20s"


def test_a_gpu_keeps_the_templates_other_limits() -> None:
    container = {"name": EXECUTOR, "resources": {"limits": {"ephemeral-storage": "9Gi"}}}
    executor = {
        "gpu": {"name": "nvidia.com/gpu", "quantity": 1},
        "template": {"spec": {"containers": [container]}},
    }
    made = submitter(executor=executor).application(Driver("asgard-1-2-0", "m")).manifest()
    (one,) = made["spec"]["executor"]["template"]["spec"]["containers"]
    assert one["resources"]["limits"] == {"ephemeral-storage": "9Gi", "nvidia.com/gpu": "1"}


def test_a_pods_shape_goes_into_its_template_and_needs_no_webhook() -> None:
    made = submitter(
        volumes=[{"name": "scratch", "emptyDir": {}}],
        driver={"nodeSelector": {"disk": "fast"}, "priorityClassName": "high"},
        executor={
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "gpu": {"name": "nvidia.com/gpu", "quantity": 2},
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        },
    ).application(Driver("asgard-1-2-0", "m"))
    spec = made.manifest()["spec"]
    driver, executor = spec["driver"]["template"]["spec"], spec["executor"]["template"]["spec"]
    assert (driver["nodeSelector"], driver["priorityClassName"]) == ({"disk": "fast"}, "high")
    assert executor["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert executor["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert executor["containers"][0]["volumeMounts"] and executor["volumes"] == driver["volumes"]
    assert "nodeSelector" not in spec["driver"] and "volumes" not in spec and "gpu" not in spec["executor"]


def test_later_parts_win_field_by_field() -> None:
    spec = merged(
        {
            "deployment": {"image": "a", "driver": {"memory": "2g"}},
            "asset": {
                "driver": {"cores": 2},
                "executor": {"gpu": {"name": "nvidia.com/gpu", "quantity": 1}},
            },
            "run": {"dynamicAllocation": {"enabled": True, "maxExecutors": 8}},
        }
    )
    manifest = spec.model_dump(by_alias=True, exclude_none=True)
    assert (manifest["driver"]["memory"], manifest["driver"]["cores"]) == ("2g", 2)
    assert manifest["driver"]["memoryOverhead"]
    assert manifest["executor"]["gpu"] == {"name": "nvidia.com/gpu", "quantity": 1}
    assert manifest["dynamicAllocation"]["maxExecutors"] == 8


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"driver": {"memroy": "2g"}}, "driver.memroy"),
        ({"executor": {"instances": 0}}, "executor.instances"),
        ({"driver": "big"}, "driver must be a mapping"),
        ({"sparkconf": {}}, "sparkconf"),
        ({"driver": {"core_request": "1"}}, "driver.core_request"),
        ({"driver": {"memory": "2Gi"}}, "driver.memory.*512m or 2g"),
        ({"executor": {"memoryOverhead": "1.5g"}}, "executor.memoryOverhead.*512m or 2g"),
        ({"driver": {"podName": "mine"}}, "driver.podName"),
        ({"restartPolicy": {"type": "Always"}}, "restartPolicy.type.*'Never'"),
        ({"sparkConf": {"spark.hadoop.fs.s3a.secret.key": "x"}}, "secret.key: anybody may read"),
        ({"sparkConf": {"spark.executor.cores": 2}}, "sparkConf.spark.executor.cores"),
    ],
)
def test_a_misspelled_field_is_named_with_its_source(part: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=f"step usage.*{named}"):
        merged({"deployment": {"image": "a"}, "step usage": part})


def test_null_takes_a_field_back_to_its_default() -> None:
    asset = {"sparkConf": None, "dynamicAllocation": {"maxExecutors": 4}, "driver": {"memory": "2g"}}
    run = {"dynamicAllocation": None, "driver": None}
    spec = merged({"deployment": {"image": "a"}, "asset": asset, "run": run})
    assert (spec.dynamic_allocation, spec.driver.memory, spec.spark_conf) == (None, "1g", {})
    assert spec.executor.instances == 2


def test_dynamic_allocation_begins_within_its_own_bounds() -> None:
    few = {"dynamicAllocation": {"initialExecutors": 0, "maxExecutors": 1}}
    assert merged({"a": {"image": "a"}, "b": few}).executor.instances is None
    asked = {**few, "executor": {"instances": 1}}
    assert merged({"a": {"image": "a"}, "b": asked}).executor.instances == 1
    off = {"dynamicAllocation": {"enabled": False}}
    assert merged({"a": {"image": "a"}, "b": off}).executor.instances == 2


@pytest.mark.parametrize(
    ("memory", "more"),
    [("1g", "1536m"), ("768m", "1152m"), ("2G", "3072m"), ("2048k", "3m"), ("1gb", "1536m")],
)
def test_memory_grows_in_whole_mebibytes(memory: str, more: str) -> None:
    assert grown(memory, 1.5) == more


def test_a_memory_without_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="512m or 2g"):
        grown("1024", 2)


@pytest.fixture
def launcher(settings: Settings) -> KubernetesStepLauncher:
    return KubernetesStepLauncher(
        folder="s3://lake/_launcher",
        namespace="pipelines",
        image="asgard:1",
        service_account="spark",
        spec={"executor": {"instances": 3}},
        executor_k8s={"pod_spec_config": {"tolerations": [{"key": "spot", "operator": "Exists"}]}},
    )


def test_asset_and_run_say_what_they_need_and_the_run_wins(launcher: KubernetesStepLauncher) -> None:
    asset = {"asgard/spark": json.dumps({"driver": {"memory": "2g"}, "executor": {"instances": 4}})}
    run = {"asgard/spark": json.dumps({"executor": {"instances": 6}})}
    spec = launcher.spec_for(asset, run)
    assert (spec.driver.memory, spec.executor.instances) == ("2g", 6)
    assert launcher.spec_for({}, {}).executor.instances == 3
    assert spec.driver.service_account == "spark"


def test_pods_are_shaped_by_dagster_k8s_configuration(launcher: KubernetesStepLauncher) -> None:
    config = {
        "container_config": {"volume_mounts": [{"name": "scratch", "mount_path": "/scratch"}]},
        "pod_spec_config": {
            "node_selector": {"disk": "fast"},
            "image_pull_secrets": [{"name": "registry"}],
            "volumes": [{"name": "scratch", "empty_dir": {}}],
        },
    }
    spec = launcher.spec_for({"dagster-k8s/config": json.dumps(config)}, {})
    assert spec.driver.template is not None and spec.executor.template is not None
    pod = spec.driver.template["spec"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    (container,) = pod["containers"]
    assert (container["name"], container["volumeMounts"][0]["mountPath"]) == (DRIVER, "/scratch")
    executor = spec.executor.template["spec"]
    assert executor["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert executor["containers"][0]["name"] == EXECUTOR


@pytest.mark.parametrize(("tag", "named"), [("{", "not JSON"), ("[]", "must hold an object")])
def test_a_malformed_tag_is_named(launcher: KubernetesStepLauncher, tag: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        launcher.spec_for({"asgard/spark": tag}, {}, source="step usage")


def test_memory_grows_only_for_the_driver_that_ran_out(launcher: KubernetesStepLauncher) -> None:
    first, second = launcher.spec_for({}, {}), launcher.spec_for({}, {}, growth=2)
    assert (first.driver.memory, second.driver.memory) == ("1g", "2048m")
    assert second.executor.memory == first.executor.memory


def test_no_secret_setting_is_shared_with_pods(
    launcher: KubernetesStepLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGARD_DEMO_TOKEN", "canary")
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", "https://hooks.example.com/canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert "canary" not in json.dumps(launcher.pod_environment())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., KubernetesStepLauncher]:
    given = {
        "PIPELINE_NAMESPACE": "pipelines",
        "SPARK_IMAGE": "asgard:1",
        "SPARK_SERVICE_ACCOUNT": "spark",
        "ASGARD_LAKE": "s3://lake",
    }

    def launcher(**variables: str) -> KubernetesStepLauncher:
        for name, value in {**given, **variables}.items():
            monkeypatch.setenv(name, value)
        return kubernetes_launcher(Settings())

    return launcher


@pytest.mark.parametrize(
    ("variable", "text", "named"),
    [
        ("ASGARD_SPARK_SPEC", "[]", "ASGARD_SPARK_SPEC must hold a JSON object"),
        ("ASGARD_SPARK_SPEC", "{", "ASGARD_SPARK_SPEC is not JSON"),
        ("ASGARD_SPARK_SPEC", '{"driver": {"memroy": "2g"}}', "ASGARD_SPARK_SPEC: .*driver.memroy"),
        (
            "ASGARD_LAUNCHER_OPTIONS",
            '{"start_second": 9}',
            "no field 'start_second'; there are .*start_seconds",
        ),
        ("ASGARD_POD_VARIABLES", "CRM_URL,CRM_TOKEN", "CRM_TOKEN looks like a secret"),
        ("ASGARD_LAUNCHER_OPTIONS", '{"namespace": "mine"}', "no field 'namespace'"),
        ("ASGARD_LAUNCHER_OPTIONS", '{"start_seconds": "long"}', "ASGARD_LAUNCHER_OPTIONS: start_seconds"),
    ],
)
def test_a_wrong_setting_is_named_when_the_definitions_load(
    cluster: Callable[..., KubernetesStepLauncher], variable: str, text: str, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        cluster(**{variable: text})


def test_deadlines_and_further_variables_of_the_pods_come_from_the_environment(
    cluster: Callable[..., KubernetesStepLauncher],
) -> None:
    launcher = cluster(
        ASGARD_LAUNCHER_OPTIONS='{"start_seconds": 900, "memory_growth": 1.5}',
        ASGARD_POD_VARIABLES="CRM_URL, NOT_SET",
        CRM_URL="https://crm.example.com",
        ASGARD_POD_SECRETS="crm-token, ",
    )
    assert (launcher.start_seconds, launcher.memory_growth, launcher.silence_seconds) == (900, 1.5, 180)
    assert launcher.pod_environment()["CRM_URL"] == "https://crm.example.com"
    assert "NOT_SET" not in launcher.pod_environment()
    assert launcher.secrets == ["crm-token"]
    assert launcher.pod_secrets == ["s3-credentials", "crm-token"]


def test_pods_are_told_the_defaults_that_their_host_took(
    cluster: Callable[..., KubernetesStepLauncher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S3_SECRET_NAME", raising=False)
    told = cluster().pod_environment()
    assert (told["S3_SECRET_NAME"], told["AWS_EC2_METADATA_DISABLED"]) == ("s3-credentials", "true")
    assert told["PIPELINE_NAMESPACE"] == "pipelines" and told["SPARK_IMAGE"] == "asgard:1"


def test_pods_with_a_role_read_no_secret_and_may_ask_the_node(
    cluster: Callable[..., KubernetesStepLauncher],
) -> None:
    launcher = cluster(S3_SECRET_NAME="")
    assert launcher.pod_secrets == []
    told = launcher.pod_environment()
    assert told["S3_SECRET_NAME"] == "" and "AWS_EC2_METADATA_DISABLED" not in told
