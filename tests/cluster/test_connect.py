"""A Spark Connect server as the chart makes it, kept by the Spark operator: a step of this host runs its jobs there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from asgard_assets.errors import SparkServerError
from asgard_assets.spark.connect import Address
from asgard_assets.spark.connect.sessions import Sessions
from tests.cluster.test_chart import GIVEN, template
from tests.cluster.world import NAMESPACE, NODE, S3_PORT, Home, World, wait_for
from tests.components.bronze_frames import put_usage, usage_body

DAY, SECRET, VARIABLE = "2026-10-05", "spark-token", "SPARK_CONNECT_AUTHENTICATE_TOKEN"
TOKEN = "canary-connect-8d21"  # noqa: S105
SIZES = {
    "enabled": True,
    "tokenSecret": SECRET,
    "sparkConf": {
        "spark.kubernetes.executor.request.cores": "200m",
        "spark.kubernetes.memoryOverheadFactor": "0.6",
    },
    "server": {"cores": 1, "memory": "768m", "resources": {"requests": {"cpu": "200m", "memory": "1536Mi"}}},
    "executor": {"instances": 1, "cores": 1, "memory": "512m"},
}


@contextmanager
def spark(world: World, home: Home) -> Iterator[str]:
    """The chart's SparkConnect, its environment and its Secret; yields the address of the server's pod."""
    rendered = template(
        "--set-json", f"sparkConnect={json.dumps(SIZES)}",
        **GIVEN | {
            "image.pullPolicy": "Never", "sparkImage.repository": "localhost/asgard", "sparkImage.tag": "test",
            "lake": home.lake_root, "s3.endpoint": f"http://{NODE}:{S3_PORT}",
        },
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    objects = [
        item
        for item in yaml.safe_load_all(rendered.stdout)
        if item and (item["kind"] == "SparkConnect" or item["metadata"]["name"] == "asgard-environment")
    ]
    world.kubectl(
        "create", "secret", "generic", SECRET, "-n", NAMESPACE, f"--from-literal={VARIABLE}={TOKEN}"
    )
    body = yaml.safe_dump_all(objects)
    try:
        world.kubectl("apply", "-n", NAMESPACE, "-f", "-", body=body)
        pod = wait_for(lambda: f"a ready server: {pods(world)}", lambda: ready(world), 300, pause=1)
        address = pod["status"]["podIP"]
        wait_for("an answer of the server", lambda: answers(address), 120)
        yield address
    finally:
        for said in (
            ("describe", "pod", "asgard-spark-server"),
            ("logs", "asgard-spark-server", "--tail", "40"),
        ):
            print(world.kubectl(*said, "-n", NAMESPACE, check=False))
        world.kubectl("delete", "-n", NAMESPACE, "--ignore-not-found", "-f", "-", body=body)
        world.kubectl("delete", "secret", SECRET, "-n", NAMESPACE)
        world.nothing_left("asgard-spark", SECRET, "asgard-environment")


def answers(host: str) -> bool:
    """Whether the server lets us in: it listens before it is ready to, on a node that is busy."""
    try:
        Sessions(Address(host, 15002, token=TOKEN, clear=True), {}).probe()
    except SparkServerError:
        return False
    return True


def pods(world: World) -> list[tuple[str, str]]:
    return [(pod["metadata"]["name"], pod["status"].get("phase", "")) for pod in world.objects("pods")]


def ready(world: World) -> dict[str, Any] | None:
    for pod in world.objects("pods"):
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
        if pod["metadata"]["name"] == "asgard-spark-server" and conditions.get("Ready") == "True":
            return pod
    return None


@pytest.mark.alone
def test_a_silver_step_runs_on_the_server_that_the_operator_keeps(world: World) -> None:
    home = world.home("connect")
    put_usage(home.lake, {DAY: [usage_body(number, DAY) for number in range(1, 21)]})
    with spark(world, home) as address:
        told: dict[str, Any] = {
            "ASGARD_LAUNCHER": "connect",
            "ASGARD_SPARK_CONNECT": f"sc://{address}:15002/;use_ssl=false",
            "ASGARD_SPARK_CONNECT_TOKEN": f"env:{VARIABLE}",
            VARIABLE: TOKEN,
            "ASGARD_RETRIES": "3",
        }
        assert home.run("silver/usage", DAY, **told) == 0, home.said[-3000:]
        wait_for("an executor", lambda: any("exec" in name for name, _ in pods(world)), 60)
        told |= {VARIABLE: "wrong", "ASGARD_RETRIES": "0"}
        assert home.run("silver/usage", DAY, **told) != 0 and "refuses the token" in home.said
    table = home.lake.table("silver", "usage")
    assert table is not None and table.to_pyarrow_table().num_rows == 20
