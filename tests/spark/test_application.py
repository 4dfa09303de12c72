"""An application is built from parts, in the operator's own field names; what is misspelled is named."""

from __future__ import annotations

import json

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.resources.kubernetes import KubernetesStepLauncher
from asgard_assets.settings import Settings
from asgard_assets.spark.application import DRIVER, EXECUTOR, grown, merged
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import KubernetesSubmitter
from asgard_assets.spark.submit import Driver


def submitter(**parts: object) -> KubernetesSubmitter:
    api = Api.__new__(Api)
    spec = merged("test", {"image": "asgard:1"}, parts)
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
        "test",
        {"image": "a", "driver": {"memory": "2g"}},
        {"driver": {"cores": 2}, "executor": {"gpu": {"name": "nvidia.com/gpu", "quantity": 1}}},
        {"dynamicAllocation": {"enabled": True, "maxExecutors": 8}},
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
    ],
)
def test_a_misspelled_field_is_named_with_its_source(part: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=f"step usage.*{named}"):
        merged("step usage", {"image": "a"}, part)


@pytest.mark.parametrize(
    ("memory", "more"), [("1g", "1536m"), ("768m", "1152m"), ("2G", "3072m"), ("2048k", "3m")]
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
