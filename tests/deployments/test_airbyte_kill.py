"""`kill -9` of the server, the connector or Dagster at a random moment of a sync: Bronze equals the source all the same.

Two real connectors: a low-code one over the demo's REST API, incremental with a state a day, and source-faker,
a full refresh. After the kill comes one more sync, as the next run would make it, and then the load.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from asgard_assets.components.airbyte import refresh_snapshot
from asgard_assets.components.airbyte import snapshot as airbyte_snapshot
from asgard_assets.components.airbyte.bronze import Bronze, source_of
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.load import load
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import audit
from deployments.local.airbyte.install import command
from deployments.local.airbyte.workspace import Workspace
from tests.checkout import ROOT
from tests.deployments.test_airbyte_client import MANIFEST, tickets
from tests.deployments.test_airbyte_server import Server, descendants, until
from tests.fakes.airbyte import write_instance
from tests.patience import ended, patience

DAY = "2026-10-05"
FAKER = {"count": 1500, "seed": 5, "parallelism": 1, "records_per_slice": 100}
FAULTS = ("server", "connector", "dagster")
pytestmark = pytest.mark.timeout(900)


@dataclass
class Place:
    """Everything of one turn, in one folder."""

    folder: Path
    workspace: Workspace
    instance: Path

    @property
    def arguments(self) -> list[str]:
        return ["--workspace", str(self.folder / "workspace.yaml"), "--checkpoint-seconds", "0"]

    def sync(self, url: str) -> subprocess.Popen[bytes]:
        """Dagster, syncing both connections."""
        env = os.environ | {"ASGARD_AIRBYTE_URL": url, "ASGARD_HOME": str(self.folder)}
        with (self.folder / "dagster.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.airbyte_run", str(self.instance)],
                cwd=ROOT, env=env, stdout=log, stderr=log,
            )  # fmt: skip


def prepared(folder: Path, api_url: str, monkeypatch: Any) -> tuple[Place, Server]:
    config = {
        "api_url": api_url,
        "api_token": "demo-token",
        "start_date": "2026-10-05",
        "end_date": "2026-10-20",
    }
    connections = [
        {
            "name": "tickets",
            "source": "source-declarative-manifest",
            "manifest": str(MANIFEST),
            "config": config,
            "streams": [{"name": "tickets", "sync": "incremental_append"}],
        },
        {"name": "people", "source": "source-faker", "config": FAKER, "streams": [{"name": "users"}]},
    ]
    path = folder / "workspace.yaml"
    path.write_text(yaml.safe_dump({"name": "kill", "connections": connections}))
    workspace = Workspace.read(path)
    place = Place(folder, workspace, write_instance(folder / "instance" / "airbyte", workspace.id))
    server = Server(folder, *place.arguments)
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", server.url)
    refresh_snapshot(place.instance)
    return place, server


def kill_during_a_sync(
    place: Place, server: Server, fault: str, moment: float, restart_after: float
) -> tuple[Server, str]:
    """Start a sync and kill one party `moment` seconds after the first job has begun."""
    run = place.sync(server.url)
    until(lambda: run.poll() is not None or server.call("GET", "/api/public/v1/jobs")["data"], 120)
    time.sleep(moment)
    told = f"{fault} after {moment:.1f} s"
    if fault == "server":
        server.process.kill()
        server.process.wait()
        time.sleep(restart_after)
        server = Server(place.folder, *place.arguments, url=server.url)
    elif fault == "dagster":
        run.kill()
    else:
        reading = [pid for pid, line in descendants(server.process.pid).items() if "/bin/source-" in line]
        told += "" if reading else ", when none ran"
        for pid in reading[-1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                told += ", which had just ended"
    run.wait(patience(300))
    return server, f"{told}; that run ended with {run.returncode}"


def published(place: Place, spark: Any) -> dict[str, list[dict[str, Any]]]:
    """Load both streams and return their Bronze rows."""
    lake, landing = Lake(str(place.folder / "lake")), Landing(str(place.folder / "landing"))
    snapshot = airbyte_snapshot.read(place.instance / airbyte_snapshot.SNAPSHOT, place.workspace.id)
    for props in snapshot.data.to_airbyte_connection_table_props_data():
        mode = snapshot.connections[props.connection_id].modes[props.stream_name]
        source = source_of(Bronze(), props, mode, dg.AssetKey(["airbyte", props.table_name]), "d")
        loaded = load(lambda: spark, lake, landing, source, [DAY])
        assert not loaded.failed and audit(lake, loaded.staging, source.spec).bad_days == {}
        lake.publish(loaded.staging, plans=loaded.plans)
    with lake.connect() as connection:
        return {
            name: connection.execute(f"select * from bronze.{name}").to_arrow_table().to_pylist()
            for name in ("tickets", "users")
        }


@functools.cache
def people() -> dict[str, dict[str, Any]]:
    """source-faker's users by id, asked of the connector itself."""
    stream = {"name": "users", "json_schema": {}, "supported_sync_modes": ["full_refresh"]}
    chosen = {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}
    with tempfile.TemporaryDirectory() as folder:
        config, catalog = Path(folder, "config.json"), Path(folder, "catalog.json")
        config.write_text(json.dumps(FAKER))
        catalog.write_text(json.dumps({"streams": [chosen]}))
        asked = [str(command("source-faker")), "read", "--config", str(config), "--catalog", str(catalog)]
        said = subprocess.run(asked, capture_output=True, check=True).stdout.splitlines()
    records = [m["record"]["data"] for line in said if (m := json.loads(line))["type"] == "RECORD"]
    return {str(record["id"]): record for record in records}


def same_after_a_kill(
    fault: str,
    fraction: float,
    chance: random.Random,
    tmp_path: Path,
    spark: Any,
    api_url: str,
    monkeypatch: Any,
) -> None:
    place, server = prepared(tmp_path, api_url, monkeypatch)
    try:
        server, told = kill_during_a_sync(place, server, fault, fraction * 12, chance.uniform(0, 2))
        again = place.sync(server.url)
        assert again.wait(patience(400)) == 0, (told, (tmp_path / "dagster.log").read_text()[-3000:])
        rows = published(place, spark)
        statuses = Counter(
            job["status"] for job in server.call("GET", "/api/public/v1/jobs?limit=100")["data"]
        )
    finally:
        ended(server.process, 30)
    sys.stdout.write(f"{told}; jobs: {dict(statuses)}\n")
    days = [f"2026-10-{n:02}" for n in range(5, 20)]
    found = Counter((row["date"], int(row["ticket_id"])) for row in rows["tickets"])
    assert set(found) == tickets(api_url, days) and set(found.values()) == {1}, told
    truth = people()
    assert Counter(row["id"] for row in rows["users"]) == Counter(truth.keys()), told
    compared = ("name", "email", "occupation", "gender", "nationality", "weight")
    for row in rows["users"]:
        assert [row[c] for c in compared] == [str(truth[row["id"]][c]) for c in compared], told


@pytest.mark.servers
@pytest.mark.parametrize("fault", FAULTS)
def test_bronze_equals_the_source_after_a_kill(fault, chance, tmp_path, spark, demo_api, monkeypatch):
    same_after_a_kill(fault, chance.random(), chance, tmp_path, spark, demo_api, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("fault", FAULTS)
def test_bronze_equals_the_source_after_ten_kills_of_each(
    fault, turn, chance, tmp_path, spark, demo_api, monkeypatch
):
    same_after_a_kill(fault, (turn + chance.random()) / 10, chance, tmp_path, spark, demo_api, monkeypatch)
