"""A source of files with a schedule: its sensor looks when that is due, and not before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.file_sensor import file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.components.pulls import Pull
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings

TOLD = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}


def at(hour: int, minute: int, day: int = 7) -> float:
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.fixture
def folder(settings: Settings) -> Path:
    found = Path(settings.landing_root) / "orders" / "ds=2026-10-05"
    found.mkdir(parents=True)
    (found / "a.csv").write_text("id\n1\n")
    return found


def asked(
    instance: dg.DagsterInstance, now: float, cursor: str | None, **changes: object
) -> tuple[int, str | None]:
    """How many runs a tick asks for, and its cursor."""
    source = FileSource.model_validate(TOLD | changes)
    sensor = file_sensor(source, clock=lambda: now, pull=Pull(cron="0 2 * * *"))
    defs = dg.Definitions(assets=[file_asset(source)], sensors=[sensor], resources=resources())
    told = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs))
    return len(told.run_requests or ()), told.cursor


def test_a_tick_looks_once_after_each_time_that_is_due(folder: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        runs, cursor = asked(instance, at(9, 0), None)
        assert runs == 1 and cursor and json.loads(cursor)["looked_at"] == at(9, 0)
        (folder / "b.csv").write_text("id\n2\n")
        assert asked(instance, at(9, 1), cursor) == (0, cursor)
        assert asked(instance, at(1, 59, day=8), cursor) == (0, cursor)
        runs, later = asked(instance, at(2, 0, day=8) + 1, cursor)
        assert runs == 1 and later != cursor


def test_the_schedule_is_of_the_source_s_own_zone(folder: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        zone = {"time_zone": "Europe/Berlin"}
        _, cursor = asked(instance, at(23, 0, day=6), None, **zone)
        assert asked(instance, at(23, 59, day=6), cursor, **zone)[0] == 0
        assert asked(instance, at(0, 1), cursor, **zone)[1] != cursor  # 02:01 in Berlin
