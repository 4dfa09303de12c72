"""Connectors that take a fixed moment for now: the demo's data is the same on every day that it runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deployments.local.airbyte.connector import Connector, discover
from deployments.local.airbyte.files import Log
from deployments.local.airbyte.install import command
from deployments.local.airbyte.workspace import Connection, Workspace
from tests.fakes.airbyte import Fake, run

DEMO = "00ca8cbc8b487082"
"""Hash of what the demo's connection delivers, found once: a day later another hash would show what depends on the day."""


def records(connection: Connection, folder: Path) -> list[dict[str, Any]]:
    """What a connection's `read` gives, in order, when it is run as the server runs it."""
    faker, log = command(connection.source), Log(folder / "log", 1 << 20)
    offered = {stream["name"]: stream for stream in discover(faker, connection.config, log, folder)}
    streams = [
        {"stream": offered[s.name], "sync_mode": s.modes[0], "destination_sync_mode": s.modes[1]}
        for s in connection.streams
    ]
    (folder / "config.json").write_text(json.dumps(connection.config))
    (folder / "catalog.json").write_text(json.dumps({"streams": streams}))
    arguments = ["read", "--config", str(folder / "config.json"), "--catalog", str(folder / "catalog.json")]
    with Connector(faker, arguments, log, folder, now=connection.now) as running:
        return [message["record"] for message in running.messages() if message["type"] == "RECORD"]


@pytest.mark.servers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
def test_the_demos_connection_delivers_the_same_whatever_the_day_and_the_zone(tmp_path, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    (connection,) = Workspace.read().connections
    found = records(connection, tmp_path)
    assert {record["stream"] for record in found} == {"users", "products", "purchases"}
    times = [r["data"].get("purchased_at") for r in found if r["stream"] == "purchases"]
    assert "2026-10-25" < max(filter(None, times)) < "2026-11-03"
    assert hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16] == DEMO


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_another_moment_gives_other_purchases(tmp_path):
    (connection,) = Workspace.read().connections
    assert connection.now
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    later = connection.model_copy(update={"now": connection.now.replace(year=2027)})
    assert records(connection, tmp_path / "one") != records(later, tmp_path / "two")


def test_a_connector_whose_clock_cannot_be_held_fails_its_job(tmp_path):
    job = run(Fake(tmp_path).open(now="2026-11-02T00:00:00Z"))
    assert job.status == "failed"
    assert "no `python` beside it that could hold its clock" in job.reason
