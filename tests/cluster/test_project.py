"""A project made by `asgard init`, with the image that `asgard image` builds: its Silver and Gold run in pods."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgard_assets.spark.s3 import S3Transport
from tests.checkout import ROOT
from tests.cluster.test_platform import container_of
from tests.cluster.world import NAMESPACE, NODE, S3_PORT, SMALL, Home, World, built, wait_for

IMAGE, POD = "localhost/shop-spark", "asgard-shop-gold"
DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
BUILD = (
    "mkdir -p $DAGSTER_HOME && exec python3 -m dagster asset materialize -m shop.definitions "
    f"--select gold/product_sales --partition-range {DAYS[0]}...{DAYS[-1]}"
)


@dataclass(frozen=True)
class Shop:
    """The new project's folder, and a home whose host is told to launch its steps in the project's image."""

    folder: Path
    home: Home

    def asgard(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "asgard_assets.cli", *arguments],
            cwd=self.folder, env=self.home.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def materialize(self, select: str) -> int:
        return self.home.run(select, DAYS[0], DAYS[-1], module="shop.definitions", at=self.folder)

    def land(self) -> None:
        """The example's files, where pods reach them."""
        environment = self.home.environment
        landing = S3Transport.at(environment["ASGARD_LANDING"], environment["ASGARD_S3_ENDPOINT"])
        for file in (self.folder / "landing" / "orders").iterdir():
            landing.put(f"orders/{file.name}", file.read_bytes())

    def load_image(self) -> None:
        archive = self.home.folder / "image.tar"
        self.asgard("image", "--name", f"{IMAGE}:test", "--file", str(archive))
        script = f". {ROOT}/deployments/cluster/env.sh; ctr -n k8s.io images import {archive}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        archive.unlink()

    def rows(self, table: str) -> list[dict[str, Any]]:
        stage, _, name = table.partition("/")
        found = self.home.lake.table(stage, name)
        assert found is not None, table
        return found.to_pyarrow_table().to_pylist()

    def sold(self) -> list[tuple[str, int]]:
        """Pieces sold on each day, counted from the example's files."""
        found = []
        for day in DAYS:
            lines = (self.folder / "landing" / "orders" / f"{day}.csv").read_text().splitlines()[1:]
            found.append((day, sum(max(0, int(line.split(",")[2])) for line in lines)))
        return found

    def pod(self) -> list[dict[str, Any]]:
        """A pod of the project's image with the chart's settings, from the project's own values, that builds Gold."""
        chart = self.asgard("chart").strip()
        given = {
            "image.repository": IMAGE, "image.tag": "test", "image.pullPolicy": "Never",
            "sparkImage.repository": IMAGE, "sparkImage.tag": "test", "lake": self.home.lake_root, "logBucket": "lake",
            "s3.endpoint": f"http://{NODE}:{S3_PORT}", "postgres.host": NODE, "secrets.state": "asgard-postgres",
        }  # fmt: skip
        flags = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
        rendered = subprocess.run(
            [f"{built()}/bin/helm", "template", "asgard", chart, "-n", NAMESPACE, "--kube-version", "1.35.4",
             "-f", "deployments/values.yaml", "--set-json", f"sparkSpec={json.dumps(SMALL)}", *flags],
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert rendered.returncode == 0, rendered.stderr
        objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
        maps = [item for item in objects if item["kind"] == "ConfigMap"]
        shape, container = container_of(objects)
        container["args"] = ["sh", "-c", BUILD]
        # One pod with a history of its own; that a production run has pods for its steps is test_platform's story.
        own = {"DAGSTER_HOME": "/tmp/history", "ASGARD_ENV": "local", "ASGARD_LAUNCHER": "none"}
        container["env"] = [{"name": name, "value": value} for name, value in own.items()]
        container["resources"]["requests"] = {"cpu": "100m", "memory": "512Mi"}
        secret = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "asgard-postgres"},
            "stringData": {"DAGSTER_PG_PASSWORD": "unused"},
        }  # fmt: skip
        spec = {**shape, "restartPolicy": "Never"}
        return [
            *maps, secret, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec},
        ]  # fmt: skip


def new_shop(world: World) -> Shop:
    """`asgard init shop`, and a host that is set up for it as `make setup` does."""
    home = world.home("shop", SPARK_IMAGE=f"{IMAGE}:test")
    folder = home.folder / "shop"
    Shop(home.folder, home).asgard("init", "shop")
    home.environment |= {"ASGARD_PROJECT": str(folder), "ASGARD_LANDING": f"{home.lake_root}/_landing"}
    settings = (folder / ".env.example").read_text()
    assert "\nASGARD_LANDING=landing\n" in settings
    # In the file too: Dagster's own command prefers it to the environment.
    wanted = f"\nASGARD_LANDING={home.environment['ASGARD_LANDING']}\n"
    (folder / ".env").write_text(settings.replace("\nASGARD_LANDING=landing\n", wanted))
    return Shop(folder, home)


@pytest.mark.together
def test_a_new_project_runs_its_silver_and_gold_in_pods(world: World) -> None:
    shop = new_shop(world)
    shop.land()
    shop.load_image()
    assert shop.materialize('key:"bronze/orders" or key:"silver/orders"') == 0, shop.home.said[-6000:]
    assert shop.home.said.count("Launched asgard-") >= 1, "Silver ran in the host"
    silver = shop.rows("silver/orders")
    assert sorted({row["ds"] for row in silver}) == list(DAYS)
    assert [(day, sum(row["quantity"] for row in silver if row["ds"] == day)) for day in DAYS] == shop.sold()
    assert [row["ds"] for row in shop.rows("rejected/orders")] == ["2026-01-07"]
    shop.home.nothing_left()

    build_gold(world, shop)
    gold = shop.rows("gold/product_sales")
    assert [(day, sum(row["units"] for row in gold if row["ds"] == day)) for day in DAYS] == shop.sold()

    changed = shop.folder / "shop" / "defs" / "silver" / "orders.py"
    changed.write_text(changed.read_text() + "\n# Not in the image.\n")
    assert shop.materialize('key:"silver/orders"') != 0
    assert "its image holds another version" in " ".join(shop.home.failure().error.to_string().split())
    shop.home.nothing_left()


def build_gold(world: World, shop: Shop) -> None:
    """Run Gold's pod to its end."""
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": shop.pod()})
    for name in ("asgard-environment", "asgard-postgres", "dagster-instance"):  # other tests have these
        body = body.replace(name, f"shop-{name}")

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
