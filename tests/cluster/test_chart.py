"""The Helm chart against the real API server: every object is accepted, and what must be given is asked for."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_k8s.container_context import K8sContainerContext

from asgard_assets.settings import Settings
from asgard_assets.spark.application import merged
from asgard_assets.spark.connect import Address
from tests.checkout import ROOT
from tests.cluster.world import NAMESPACE, S3_SECRET, World, built

RUN_FIELDS = (
    "image_pull_policy image_pull_secrets env_config_maps env_secrets env_vars volume_mounts volumes labels resources "
    "scheduler_name security_context run_k8s_config only_allow_user_defined_k8s_config_fields only_allow_user_defined_env_vars"
).split()
CHART = str(ROOT / "deployments/helm/asgard")
GIVEN = {
    "image.repository": "registry.example.com/asgard",
    "image.tag": "1.0.0",
    "sparkImage.repository": "registry.example.com/asgard-spark",
    "sparkImage.tag": "1.0.0",
    "lake": "s3://lake/asgard",
    "calendar.start": "2026-10-05",
    "logBucket": "logs",
    "postgres.host": "postgres.example.com",
    "secrets.state": "asgard-state",
}
EVERYTHING = {
    "ingress.enabled": "true",
    "ingress.host": "asgard.example.com",
    "ingress.tlsSecret": "tls",
    "ingress.login.url": "https://login.example.com/auth",
    "webserver.autoscaling.enabled": "true",
    "gateway.enabled": "true",
    "gateway.autoscaling.enabled": "true",
    "gateway.uis.enabled": "true",
    "gateway.ingress.enabled": "true",
    "gateway.ingress.host": "api.example.com",
    "gateway.ingress.tlsSecret": "api-tls",
    "secrets.sources[0]": "crm-token",
    "streams.names[0]": "web_orders",
    "fetchers.names[0]": "crm",
    "imagePullSecrets[0].name": "registry",
    "sparkConnect.enabled": "true",
    "sparkConnect.tokenSecret": "spark-token",
}


def template(*options: str, **values: str) -> subprocess.CompletedProcess[str]:
    flags = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [
        f"{built()}/bin/helm",
        "template",
        "asgard",
        CHART,
        "-n",
        NAMESPACE,
        "--kube-version",
        "1.35.4",
        *options,
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def runs_of(objects: list[dict[str, Any]], **tag: Any) -> K8sContainerContext:
    """What the chart's run launcher gives the pod of a run whose tag asks for this."""
    (found,) = [item for item in objects if item["metadata"]["name"] == "dagster-instance"]
    launcher = yaml.safe_load(found["data"]["dagster.yaml"])["run_launcher"]
    given = {k: launcher["config"].get(k) for k in RUN_FIELDS} | {
        "job_namespace": "asgard",
        "service_account_name": "asgard",
    }
    run = dg.DagsterRun(job_name="j", tags={"dagster-k8s/config": json.dumps(tag)})
    fields: Any = SimpleNamespace(**given)
    return K8sContainerContext.create_for_run(run, fields, include_run_tags=True)


@pytest.mark.parametrize("values", ["values-staging.yaml", "values-production.yaml", None])
def test_every_object_passes_a_server_side_dry_run(world: World, values: str | None) -> None:
    options = ["--values", f"{CHART}/{values}"] if values else []
    rendered = template(*options, **GIVEN, **({} if values else EVERYTHING))
    assert rendered.returncode == 0 and "error converting" not in rendered.stdout, rendered.stderr
    done = world.kubectl(
        "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-n", NAMESPACE, "-o", "json", "-f", "-",
        body=rendered.stdout,
    )  # fmt: skip
    kinds = [item["kind"] for item in json.loads(done)["items"]]
    assert {
        "Deployment",
        "Service",
        "ConfigMap",
        "Role",
        "NetworkPolicy",
        "ResourceQuota",
        "PodDisruptionBudget",
    } <= set(kinds)
    assert kinds.count("Deployment") == (
        8 if values is None else 3
    )  # the gateway, two pages, a stream, a fetcher
    assert ("HorizontalPodAutoscaler" in kinds) == (values != "values-staging.yaml")
    assert kinds.count("Ingress") == (2 if values is None else 0)
    assert "Secret" not in kinds
    assert ("SparkConnect" in kinds) == (values is None)


def test_a_warm_spark_needs_a_token_and_steps_are_told_where_it_is(world: World) -> None:
    refused = template(**GIVEN, **{"sparkConnect.enabled": "true"})
    assert refused.returncode != 0 and "sparkConnect.tokenSecret:" in refused.stderr
    rendered = template(
        **GIVEN, **{"sparkConnect.enabled": "true", "sparkConnect.tokenSecret": "spark-token"}
    )
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    (spark,) = [item for item in objects if item["kind"] == "SparkConnect"]
    (environment,) = [item["data"] for item in objects if item["metadata"]["name"] == "asgard-environment"]
    told = Settings(
        launcher=environment["ASGARD_LAUNCHER"],
        spark_connect=environment["ASGARD_SPARK_CONNECT"],
        spark_connect_token=environment["ASGARD_SPARK_CONNECT_TOKEN"],
    )
    # The operator names the server's Service after the object.
    assert Address.of(told, "t").host == f"{spark['metadata']['name']}-server"
    server, executor = (
        spark["spec"][part]["template"]["spec"]["containers"][0] for part in ("server", "executor")
    )
    secrets = [
        [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]
        for container in (server, executor)
    ]
    assert secrets == [["s3-credentials", "spark-token"], ["s3-credentials"]]


def test_the_pages_stand_behind_the_gateway_below_their_names(world: World) -> None:
    rendered = template(**GIVEN, **{"gateway.enabled": "true", "gateway.uis.enabled": "true"})
    assert rendered.returncode == 0, rendered.stderr
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    (told,) = [item["data"] for item in objects if item["metadata"]["name"] == "asgard-environment"]
    assert set(json.loads(told["ASGARD_UIS"])) == {"dagster", "mlflow", "feast"}
    assert told["ASGARD_DAGSTER_URL"].endswith("/dagster")
    for name in ("webserver", "mlflow", "feast"):
        (pod,) = [
            item["spec"]["template"]["spec"]
            for item in objects
            if item["kind"] == "Deployment" and item["metadata"]["name"] == f"asgard-{name}"
        ]
        (container,) = pod["containers"]
        below = "/dagster" if name == "webserver" else f"/{name}"
        assert container["readinessProbe"]["httpGet"]["path"].startswith(f"{below}/")
    assert not [item for item in objects if item["kind"] == "Ingress"], "nobody reaches them from outside"


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_what_must_be_given_is_asked_for_by_name(world: World, missing: str) -> None:
    done = template(**{key: value for key, value in GIVEN.items() if key != missing})
    assert done.returncode != 0
    assert f"{missing}:" in done.stderr


def test_runs_steps_and_spark_get_what_the_values_name(world: World) -> None:
    """Secrets, pull secrets and node selectors reach the pods that Dagster and the operator make later."""
    values = (
        GIVEN
        | EVERYTHING
        | {"secrets.s3": "bucket-keys", "secrets.postgres": "history", "nodeSelector.disk": "fast"}
        | {"extraEnvironment.CRM_URL": "https://crm", "launcherOptions.start_seconds": "900"}
    )
    rendered = template(**values, **{"sparkSpec.driver.memory": "3g"})
    assert rendered.returncode == 0, rendered.stderr
    objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    (code,) = [
        item for item in objects if item["metadata"]["name"] == "asgard-code" and item["kind"] == "Deployment"
    ]
    (container,) = code["spec"]["template"]["spec"]["containers"]
    runs = runs_of(objects).run_k8s_config
    sources = [one["secret_ref"]["name"] for one in runs.container_config["env_from"] if "secret_ref" in one]
    assert sources == ["bucket-keys", "history", "asgard-state", "spark-token", "crm-token"]
    pod = runs.pod_spec_config
    assert pod["image_pull_secrets"] == [{"name": "registry"}]
    assert pod["node_selector"] == {"disk": "fast"}
    assert {one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one} == set(sources)
    (environment,) = [item["data"] for item in objects if item["metadata"]["name"] == "asgard-environment"]
    assert environment["S3_SECRET_NAME"] == "bucket-keys"
    given = {"image": environment["SPARK_IMAGE"]}
    spec = merged({"chart": given, "values": json.loads(environment["ASGARD_SPARK_SPEC"])})
    assert spec.image_pull_secrets == ["registry"] and spec.driver.memory == "3g"
    for part in (spec.driver, spec.executor):
        assert part.template and part.template["spec"]["securityContext"]["runAsNonRoot"]
    assert (environment["ASGARD_POD_VARIABLES"], environment["CRM_URL"]) == ("CRM_URL", "https://crm")
    assert json.loads(environment["ASGARD_LAUNCHER_OPTIONS"]) == {"start_seconds": 900}


def test_the_charts_defaults_are_the_platforms_and_an_empty_secret_is_a_role(world: World) -> None:
    keys, role = (
        next(
            item["data"]
            for item in yaml.safe_load_all(template(**GIVEN, **more).stdout)
            if item and item["metadata"]["name"] == "asgard-environment"
        )
        for more in ({}, {"secrets.s3": ""})
    )
    assert (keys["S3_SECRET_NAME"], keys["SPARK_SERVICE_ACCOUNT"]) == (S3_SECRET, "spark-sa")
    assert keys["AWS_EC2_METADATA_DISABLED"] == "true"
    assert role["S3_SECRET_NAME"] == "" and "AWS_EC2_METADATA_DISABLED" not in role


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"webserver.replica": "3"}, "/webserver"),
        ({"secrets.sources": "token"}, "/secrets/sources"),
        ({"lake": "/tmp/lake"}, "/lake"),
        ({"image.tag": "20261128"}, "/image/tag"),
    ],
)
def test_a_misspelled_value_is_named(world: World, values: dict[str, str], named: str) -> None:
    done = template(**GIVEN | values)
    assert done.returncode != 0 and named in done.stderr


def test_the_launchers_account_may_launch_and_read_no_secret(world: World) -> None:
    who = f"--as=system:serviceaccount:{NAMESPACE}:asgard"
    for verb, thing in (
        ("create", "sparkapplications.sparkoperator.k8s.io"),
        ("get", "pods"),
        ("create", "secrets"),
    ):
        assert world.kubectl("auth", "can-i", verb, thing, who, "-n", NAMESPACE).strip() == "yes"
    for verb, thing in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "rolebindings"),
    ):
        assert world.kubectl("auth", "can-i", verb, thing, who, "-n", NAMESPACE, check=False).strip() == "no"
