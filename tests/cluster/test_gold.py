"""Gold in a pod of the platform image, as the Helm chart sets it up: the image has all that dbt needs."""

from __future__ import annotations

import json

import pytest

from tests.cluster.test_platform import chart, container_of
from tests.cluster.world import NAMESPACE, World, import_image, wait_for
from tests.fakes.gold import DAYS, put_silver, rows

POD = "asgard-gold"
BUILD = (
    "mkdir -p $DAGSTER_HOME && exec dagster asset materialize -m asgard_assets.definitions "
    f"--select gold/customer_metrics --partition {DAYS[1]}"
)


@pytest.mark.together
def test_a_pod_of_the_platform_image_builds_gold(world: World) -> None:
    import_image("platform")
    home = world.home("gold")
    put_silver(home.lake)
    objects = chart(home, 5432)
    maps = [item for item in objects if item["kind"] == "ConfigMap"]
    shape, container = container_of(objects)
    container["args"] = ["sh", "-c", BUILD]
    # One pod with a history of its own; that a production run has pods for its steps is test_platform's story.
    own = {"DAGSTER_HOME": "/tmp/history", "ASGARD_ENV": "local", "ASGARD_LAUNCHER": "none"}
    container["env"] = [{"name": name, "value": value} for name, value in own.items()]
    container["resources"]["requests"] = {"cpu": "100m", "memory": "512Mi"}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": {**shape, "restartPolicy": "Never"},
    }  # fmt: skip
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "asgard-postgres"},
        "stringData": {"DAGSTER_PG_PASSWORD": "unused"},
    }  # fmt: skip
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*maps, secret, pod]})
    for name in ("asgard-environment", "asgard-postgres", "dagster-instance"):  # test_platform has these
        body = body.replace(name, f"gold-{name}")

    def logs() -> str:
        return world.kubectl("logs", POD, "-n", NAMESPACE, "--tail=60", check=False)

    def phase() -> str:
        return world.kubectl(
            "get", "pod", POD, "-n", NAMESPACE, "-o", "jsonpath={.status.phase}", check=False
        )

    try:
        world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=body)
        wait_for(logs, lambda: phase() in ("Succeeded", "Failed"), 600, pause=1)
        assert phase() == "Succeeded", logs()
    finally:
        world.kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", "-f", "-", body=body)
    assert rows(home.lake, "customer_metrics", "ds, customer_id, plan", "1, 2") == [
        (DAYS[1], 1, "premium"),
        (DAYS[1], 3, "basic"),
    ]
