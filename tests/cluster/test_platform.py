"""A run as production makes it: Dagster's daemon in a pod, the run in a pod, its step in a pod, Spark's driver in one.

The instance, the environment and the pod are those of the Helm chart, the accounts have the chart's rights, and
history is in Postgres.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.cluster.test_chart import template
from tests.cluster.world import (
    CANARIES,
    NAMESPACE,
    NODE,
    S3_PORT,
    SMALL,
    Home,
    World,
    import_image,
    wait_for,
)
from tests.servers.postgres import postgres

POD, PASSWORD = "asgard-platform", "canary-postgres-51c2"
MADE_BY_DAGSTER = ("dagster-run-", "dagster-step-", POD)
LAUNCH = "dagster job launch -m tests.cluster.stories -j briefly && exec dagster-daemon run -m tests.cluster.stories"


def chart(home: Home, port: int) -> list[dict[str, Any]]:
    """The chart's objects for this cluster."""
    rendered = template(
        "--set-json", f"sparkSpec={json.dumps(SMALL)}",
        "--set-json", 'extraEnvironment={"ASGARD_STEP_CPU": "100m", "ASGARD_STEP_MEMORY": "1Gi"}',
        **{
            "image.repository": "localhost/asgard", "image.tag": "platform", "image.pullPolicy": "Never",
            "sparkImage.repository": "localhost/asgard", "sparkImage.tag": "test",
            "lake": home.lake_root, "calendar.start": "2026-10-05", "logBucket": "lake", "s3.endpoint": f"http://{NODE}:{S3_PORT}",
            "postgres.host": NODE, "postgres.port": str(port), "secrets.state": "asgard-postgres",
        },
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    return [item for item in yaml.safe_load_all(rendered.stdout) if item]


def container_of(objects: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The code server's pod and its one container, to be given another command."""
    (code,) = [
        item for item in objects if item["kind"] == "Deployment" and item["metadata"]["name"] == "asgard-code"
    ]
    shape = code["spec"]["template"]["spec"]
    (container,) = shape["containers"]
    for key in ("readinessProbe", "ports"):
        del container[key]
    return shape, container


@contextmanager
def deployed(world: World, home: Home, port: int) -> Iterator[None]:
    """The chart's settings, and its pod with one command that launches a run and then the daemon."""
    objects = chart(home, port)
    maps = [item for item in objects if item["kind"] == "ConfigMap"]
    shape, container = container_of(objects)
    container["args"] = ["sh", "-c", LAUNCH]
    container["resources"]["requests"] = {"cpu": "100m", "memory": "512Mi"}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": {**shape, "restartPolicy": "Never"},
    }  # fmt: skip
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "asgard-postgres"},
        "stringData": {"DAGSTER_PG_PASSWORD": PASSWORD},
    }  # fmt: skip
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*maps, secret, pod]})
    try:
        world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=body)
        yield
    finally:
        # The daemon first, so that it makes nothing anew.
        world.kubectl("delete", "pod", POD, "-n", NAMESPACE, "--ignore-not-found")
        world.kubectl("delete", "jobs", "-n", NAMESPACE, "--all")
        world.kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", "-f", "-", body=body)
        wait_for("an end of Dagster's pods", lambda: not pods(world), 120, pause=1)


def pods(world: World) -> list[str]:
    names = [pod["metadata"]["name"] for pod in world.objects("pods")]
    return [name for name in names if name.startswith(MADE_BY_DAGSTER)]


@pytest.mark.together
def test_a_run_of_the_daemon_runs_in_pods_of_its_own_and_launches_an_application(world: World) -> None:
    import_image("platform")
    home = world.home("platform")
    with postgres(home.folder / "postgres", NODE, PASSWORD) as database:
        (home.folder / "history").mkdir()
        (home.folder / "history" / "dagster.yaml").write_text(
            json.dumps({"storage": database.storage, "telemetry": {"enabled": False}})
        )
        with (
            dg.DagsterInstance.from_config(str(home.folder / "history")) as instance,
            deployed(world, home, database.port),
        ):

            def seen() -> str:
                logs = world.kubectl("logs", POD, "-n", NAMESPACE, "--tail=30", check=False)
                told = [e.user_message for run in instance.get_runs() for e in instance.all_logs(run.run_id)]
                return "\n".join(["an end of the run", logs, *pods(world), *told[-20:]])

            wait_for(seen, lambda: any(run.is_finished for run in instance.get_runs()), 900, pause=2)
            (run,) = instance.get_runs()
            log = list(instance.all_logs(run.run_id))
            kinds = "sparkapplications,pods,jobs,configmaps,events"
            objects = world.kubectl("get", kinds, "-n", NAMESPACE, "-o", "json")
            assert run.status == dg.DagsterRunStatus.SUCCESS, seen()
            made = instance.get_latest_materialization_event(dg.AssetKey("brief"))
    said = "\n".join(entry.message for entry in log)
    for text in (
        "Creating Kubernetes run worker job",
        'Executing step "brief" in Kubernetes job dagster-step-',
        f"Launched asgard-{run.run_id[:8]}-",
        "brief has begun",
    ):
        assert text in said, said
    assert made is not None and made.run_id == run.run_id
    assert "asgard-postgres" in objects
    for secret in (PASSWORD, *CANARIES.values()):
        assert secret not in objects and secret not in said
    world.nothing_left(f"asgard-{run.run_id[:8]}-")
    assert not home.exchange()
