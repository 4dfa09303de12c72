"""The production environment is validated without a cluster, by dagster-k8s' and dagster-aws' own schemas."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.resources.cluster import Cluster
from asgard_assets.resources.environment import executor, resources
from asgard_assets.settings import Settings
from tests.checkout import ROOT
from tests.servers.postgres import postgres
from tests.servers.s3 import s3

CLUSTER = {
    "ASGARD_ENV": "production",
    "ASGARD_LAKE": "s3://lake/asgard",
    "ASGARD_PARTITION_START": "2026-10-05",
    "ASGARD_LOG_BUCKET": "logs",
    "ASGARD_S3_REGION": "eu-central-1",
    "PIPELINE_NAMESPACE": "pipelines",
    "SPARK_IMAGE": "registry.example.com/asgard:1.0.0",
    "SPARK_SERVICE_ACCOUNT": "spark",
    "PLATFORM_IMAGE": "registry.example.com/asgard-platform:1.0.0",
    "DAGSTER_SERVICE_ACCOUNT": "asgard",
    "S3_SECRET_NAME": "asgard-s3",
    "DAGSTER_PG_HOST": "postgres",
    "DAGSTER_PG_PORT": "5432",
    "DAGSTER_PG_USERNAME": "dagster",
    "DAGSTER_PG_PASSWORD": "canary-password",
    "DAGSTER_PG_DB": "dagster",
}
NOWHERE = {
    "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "users": [{"name": "nobody", "user": {}}],
    "current-context": "nowhere",
}


@pytest.fixture
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_production_binds_secrets_and_a_lake_on_s3(production: Settings) -> None:
    bound = resources(production)
    assert set(bound) >= {"lake", "spark", "step_launcher", "secrets"}
    assert bound["lake"].root == "s3://lake/asgard"
    defs = dg.Definitions(resources=bound, executor=executor(production))
    dg.Definitions.validate_loadable(defs)


def test_steps_run_as_pods_of_the_named_image_account_and_secret(production: Settings) -> None:
    from dagster._config import process_config

    definition = executor(production)
    outcome = definition.config_schema.resolve_config({})
    assert outcome.success, outcome.errors
    from dagster_k8s import k8s_job_executor

    config = definition.apply_config_mapping({"config": {}}).value["config"]
    checked = process_config({"config": k8s_job_executor.config_schema.config_type}, {"config": config})
    assert checked.success, checked.errors
    assert config["job_image"] == CLUSTER["PLATFORM_IMAGE"]
    assert config["env_secrets"] == ["asgard-s3"]
    assert config["step_k8s_config"]["container_config"]["resources"]["limits"]["memory"] == "2Gi"


def test_steps_run_beside_the_platform_where_spark_has_a_namespace_of_its_own(
    production: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def namespace() -> str:
        return executor(production).apply_config_mapping({"config": {}}).value["config"]["job_namespace"]

    assert namespace() == "pipelines"
    monkeypatch.setenv("PLATFORM_NAMESPACE", "platform")
    assert namespace() == "platform"


def test_missing_variables_are_all_named_at_load(
    production: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_IMAGE")
    monkeypatch.setenv("PIPELINE_NAMESPACE", "")
    with pytest.raises(ConfigError, match="PIPELINE_NAMESPACE.*SPARK_IMAGE"):
        executor(production)


def test_namespace_account_and_secret_have_the_source_documents_defaults(
    production: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIPELINE_NAMESPACE", "SPARK_SERVICE_ACCOUNT", "S3_SECRET_NAME"):
        monkeypatch.delenv(name)
    cluster = Cluster.from_environment()
    assert (cluster.namespace, cluster.service_account, cluster.s3_secret) == (
        "asgard", "spark-sa", "s3-credentials",
    )  # fmt: skip
    assert cluster.pod_secrets == ["s3-credentials"]
    values = yaml.safe_load((ROOT / "deployments/helm/asgard/values.yaml").read_text())
    assert values["secrets"]["s3"] == cluster.s3_secret
    assert values["serviceAccounts"]["spark"] == cluster.service_account
    operator = yaml.safe_load((ROOT / "deployments/helm/operator-values.yaml").read_text())
    assert operator["spark"]["serviceAccount"]["name"] == cluster.service_account


def test_an_empty_secret_means_a_role(production: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_SECRET_NAME", "")
    assert Cluster.from_environment().pod_secrets == []


@pytest.mark.parametrize("name", ["PIPELINE_NAMESPACE", "SPARK_IMAGE", "SPARK_SERVICE_ACCOUNT"])
def test_an_empty_variable_is_named(production: Settings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    with pytest.raises(ConfigError, match=name):
        Cluster.from_environment()


def test_a_production_lake_on_a_local_disk_is_refused(
    production: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASGARD_LAKE")
    with pytest.raises(ConfigError, match="ASGARD_LAKE=s3://"):
        resources(Settings())


def test_the_production_instance_is_accepted_by_each_class_it_names(
    production: Settings, tmp_path: Path
) -> None:
    from dagster._config import process_config
    from dagster._core.instance.config import dagster_instance_config_schema

    text = (ROOT / "deployments" / "kubernetes" / "dagster.yaml").read_text()
    assert "canary" not in text
    instance: dict[str, Any] = yaml.safe_load(text)
    whole = process_config(dagster_instance_config_schema(), instance)
    assert whole.success, whole.errors
    assert whole.value["run_retries"]["retry_on_asset_or_op_failure"] is False
    for part in ("run_launcher", "compute_logs"):
        chosen = instance[part]
        kind = getattr(importlib.import_module(chosen["module"]), chosen["class"])
        checked = process_config(kind.config_type(), chosen["config"])
        assert checked.success, checked.errors
    (tmp_path / "dagster.yaml").write_text(text)
    from dagster._core.instance.ref import InstanceRef

    reference = InstanceRef.from_dir(str(tmp_path))
    assert reference.compute_logs_data.class_name == "S3ComputeLogManager"
    assert reference.run_launcher_data is not None


@pytest.mark.servers
def test_the_production_instance_keeps_history_in_postgres_and_logs_on_s3(
    production: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the packages of the lock file, which are those of the platform image."""
    text = (ROOT / "deployments" / "kubernetes" / "dagster.yaml").read_text()
    instance = yaml.safe_load(text)
    kubeconfig = tmp_path / "kubeconfig"  # here is no pod with an account, and no run is launched
    kubeconfig.write_text(json.dumps(NOWHERE))
    instance["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))

    @dg.asset
    def told() -> None:
        print("said in the step")  # noqa: T201

    with postgres(tmp_path / "postgres") as database, s3(tmp_path / "s3", "logs") as store:
        for name, value in (database.environment | store.environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            run_id = dg.materialize([told], instance=instance).run_id
        with dg.DagsterInstance.from_config(str(tmp_path)) as another:
            run = another.get_run_by_id(run_id)
            assert run is not None and run.is_success
            assert another.get_latest_materialization_event(dg.AssetKey("told")) is not None
        kept = [path.read_text() for path in (tmp_path / "s3/logs").rglob("*.out")]
        assert any("said in the step" in text for text in kept)


ELSEWHERE = {
    name: CLUSTER[name]
    for name in ("PIPELINE_NAMESPACE", "SPARK_IMAGE", "SPARK_SERVICE_ACCOUNT", "ASGARD_LAKE")
}


@pytest.mark.parametrize("launcher", ["spark-submit", "kubernetes"])
def test_a_local_code_location_imports_neither_kubernetes_nor_boto3_nor_pyspark(
    tmp_path: Path, launcher: str
) -> None:
    """Nor does it when it launches steps on a cluster: that host has 250 MB."""
    script = (
        "import sys; from asgard_assets.resources.environment import executor, resources;"
        "launcher = resources()['step_launcher']; executor();"
        "getattr(launcher, 'spec_for', lambda *_: 0)({}, {});"
        "print([m for m in ('kubernetes', 'dagster_k8s', 'boto3', 'pyspark', 'py4j') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "ASGARD_HOME": str(tmp_path), "ASGARD_LAUNCHER": launcher, **ELSEWHERE},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "[]"
