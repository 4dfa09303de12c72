"""The Helm chart against the real API server: every object is accepted, and what must be given is asked for."""

from __future__ import annotations

import json
import subprocess

import pytest

from asgard_assets.settings import ROOT
from tests.cluster.world import World

CHART = str(ROOT / "deployments/helm/asgard")
GIVEN = {
    "image.repository": "registry.example.com/asgard",
    "image.tag": "1.0.0",
    "sparkImage.repository": "registry.example.com/asgard-spark",
    "sparkImage.tag": "1.0.0",
    "lake": "s3://lake/asgard",
    "logBucket": "logs",
    "postgres.host": "postgres.example.com",
}
EVERYTHING = {
    "ingress.enabled": "true",
    "ingress.host": "asgard.example.com",
    "ingress.tlsSecret": "tls",
    "webserver.autoscaling.enabled": "true",
    "secrets.sources[0]": "crm-token",
    "imagePullSecrets[0].name": "registry",
}


def template(*options: str, **values: str) -> subprocess.CompletedProcess[str]:
    flags = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [
        "helm",
        "template",
        "asgard",
        CHART,
        "-n",
        "pipelines",
        "--kube-version",
        "1.35.4",
        *options,
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("values", ["values-staging.yaml", "values-production.yaml", None])
def test_every_object_passes_a_server_side_dry_run(world: World, values: str | None) -> None:
    options = ["--values", f"{CHART}/{values}"] if values else []
    rendered = template(*options, **GIVEN, **({} if values else EVERYTHING))
    assert rendered.returncode == 0, rendered.stderr
    done = world.kubectl(
        "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-n", "pipelines", "-o", "json", "-f", "-",
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
    assert kinds.count("Deployment") == 3
    assert ("HorizontalPodAutoscaler" in kinds) == (values != "values-staging.yaml")
    assert ("Ingress" in kinds) == (values is None)
    assert "Secret" not in kinds


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_what_must_be_given_is_asked_for_by_name(world: World, missing: str) -> None:
    done = template(**{key: value for key, value in GIVEN.items() if key != missing})
    assert done.returncode != 0
    assert f"{missing}:" in done.stderr


def test_the_launchers_account_may_launch_and_read_no_secret(world: World) -> None:
    who = "--as=system:serviceaccount:pipelines:asgard"
    for verb, thing in (
        ("create", "sparkapplications.sparkoperator.k8s.io"),
        ("get", "pods"),
        ("create", "secrets"),
    ):
        assert world.kubectl("auth", "can-i", verb, thing, who, "-n", "pipelines").strip() == "yes"
    for verb, thing in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "rolebindings"),
    ):
        assert (
            world.kubectl("auth", "can-i", verb, thing, who, "-n", "pipelines", check=False).strip() == "no"
        )
