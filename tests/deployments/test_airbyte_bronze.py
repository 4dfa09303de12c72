"""From a source that a test edits, through a connector and the development server, to the Bronze table.

No file is prepared: whatever lies in the landing folder was put there by a sync.
"""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.airbyte import refresh_snapshot
from asgard_assets.components.airbyte import snapshot as airbyte_snapshot
from asgard_assets.components.airbyte.bronze import Bronze, say_empty, source_of
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.load import Loaded, load
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import audit
from asgard_assets.settings import Settings
from tests.fakes.airbyte import Fake, run, serving, write_instance

pytestmark = pytest.mark.servers
DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]


class World:
    """A source with its connection and its Bronze table. `changes` is the source's log of changes."""

    def __init__(self, spark: Any, settings: Settings, monkeypatch: Any, folder: Path, **config: Any) -> None:
        self.spark, self.lake, self.monkeypatch = spark, Lake.from_settings(settings), monkeypatch
        self.fake = Fake(folder)
        self.fake.landing = Path(settings.landing_root) / "airbyte"
        self.table = folder / "users.json"
        self.config = {"table": str(self.table), **config}
        self.landing = Landing.from_settings(settings)
        self.how: dict[str, Any] = {"sync": "incremental_append"}

    def sync(self, changes: list[dict[str, Any]], day: str = DAYS[0]) -> None:
        self.table.write_text(json.dumps(changes))
        job = run(self.fake.open(self.config, day=day, **self.how))
        assert job.status == "succeeded", job.reason

    @property
    def source(self) -> FileSource:
        """The Bronze table that the component makes of the connection."""
        syncs = self.fake.open(self.config, **self.how)
        folder = write_instance(self.fake.folder / "airbyte", syncs.registry.id)
        with serving(syncs) as url:
            self.monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
            refresh_snapshot(folder)
        snapshot = airbyte_snapshot.read(folder / airbyte_snapshot.SNAPSHOT, syncs.registry.id)
        (props,) = snapshot.data.to_airbyte_connection_table_props_data()
        mode = snapshot.connections[props.connection_id].modes["users"]
        return source_of(Bronze(), props, mode, dg.AssetKey(["airbyte", "users"]), "Users.")

    def load(self, *days: str) -> Loaded:
        source = self.source
        loaded = load(lambda: self.spark, self.lake, self.landing, source, list(days))
        assert not loaded.failed and audit(self.lake, loaded.staging, source.spec).bad_days == {}
        self.lake.publish(loaded.staging, plans=loaded.plans)
        return loaded

    def rows(self, columns: str = "id, name, ds") -> list[tuple]:
        with self.lake.connect() as connection:
            return connection.execute(
                f"select {columns} from bronze.users order by try_cast(id as bigint), name, ds"
            ).fetchall()


@pytest.fixture
def world(spark, settings: Settings, monkeypatch, tmp_path: Path):
    def make(**config: Any) -> World:
        return World(spark, settings, monkeypatch, tmp_path, **config)

    return make


def user(number: int, name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "version": str(version), **more}


def test_the_connection_tells_the_tables_key_cursor_and_deletes(world):
    cdc = world(columns=["_ab_cdc_deleted_at", "_ab_cdc_lsn"], cursor="_ab_cdc_lsn")
    source = cdc.source
    assert source.merge is not None and source.files == "add"
    assert (source.merge.key, source.merge.cursor, source.merge.deleted) == (
        ("id",), "_ab_cdc_lsn", "_ab_cdc_deleted_at")  # fmt: skip
    assert (source.path, source.name) == ("airbyte/users", "users")
    assert [list(dep) for dep in source.deps] == [["airbyte", "users"]]
    cdc.how = {"sync": "full_refresh_overwrite"}
    assert cdc.source.files == "snapshot"


@pytest.mark.parametrize(
    "layout",
    [
        {"format_type": "JSONL", "flattening": "Root level flattening"},
        {"format_type": "JSONL", "flattening": "No flattening"},
        {"format_type": "Parquet", "compression_codec": "GZIP"},
    ],
)
def test_an_updated_record_moves_to_the_day_of_its_newest_version(world, layout):
    shop = world(columns=["version"], cursor="version")
    shop.how["format"] = layout
    log = [user(1, "Ann", 9), user(2, "Bob", 9), user(1, "Anne", 10)]
    shop.sync(log)
    shop.load(DAYS[0])
    assert shop.rows() == [("1", "Anne", DAYS[0]), ("2", "Bob", DAYS[0])], (
        "10 is newer than 9, though not as text"
    )
    log += [user(2, "Bobby", 11), user(3, "Cyd", 12)]
    shop.sync(log, DAYS[1])
    loaded = shop.load(DAYS[1])
    expected = [("1", "Anne", DAYS[0]), ("2", "Bobby", DAYS[1]), ("3", "Cyd", DAYS[1])]
    assert shop.rows() == expected
    assert loaded.moved_days == (DAYS[0],) and loaded.superseded_rows == 1
    for days in ([DAYS[0]], [DAYS[1]], DAYS):
        shop.load(*days)
        assert shop.rows() == expected, f"again: {days}"
    assert all(value for (value,) in shop.rows("_airbyte_raw_id"))


def test_a_late_old_version_does_not_win(world):
    shop = world(columns=["version"], cursor="version")
    log = [user(1, "new", 20)]
    shop.sync(log)
    shop.sync([*log, user(1, "old", 7)], DAYS[1])
    shop.load(*DAYS)
    assert shop.rows() == [("1", "new", DAYS[0])]


def test_deletes_of_change_data_capture_take_the_row_out_for_good(world):
    gone = "2026-10-06T08:00:00Z"
    cdc = world(columns=["_ab_cdc_deleted_at", "_ab_cdc_lsn"], cursor="_ab_cdc_lsn")

    def change(number: int, name: str | None, lsn: int, deleted: str | None = None) -> dict[str, Any]:
        return {"id": number, "name": name, "_ab_cdc_lsn": str(lsn), "_ab_cdc_deleted_at": deleted}

    big = 90_000_000_000_000_000  # more digits than a double holds
    log = [change(1, "Ann", big + 1), change(2, "Bob", big + 2), change(3, "Cyd", big + 3)]
    cdc.sync(log)
    cdc.load(DAYS[0])
    log += [change(2, None, big + 5, gone), change(1, "Anne", big + 4)]
    cdc.sync(log, DAYS[1])
    loaded = cdc.load(DAYS[1])
    expected = [("1", "Anne", DAYS[1]), ("3", "Cyd", DAYS[0])]
    assert cdc.rows() == expected and loaded.deleted_rows == 1
    cdc.load(DAYS[0])
    assert cdc.rows() == expected, "the old day, loaded again, does not bring the record back"
    log += [change(2, "Bob is back", big + 9)]
    cdc.sync(log, DAYS[2])
    cdc.load(DAYS[2])
    assert cdc.rows() == [*expected[:1], ("2", "Bob is back", DAYS[2]), *expected[1:]]


def test_a_full_refresh_that_overwrites_is_each_days_snapshot_and_may_be_empty(world):
    shop = world(columns=["version"])
    shop.how = {"sync": "full_refresh_overwrite"}
    shop.sync([user(1, "Ann", 1), user(2, "Bob", 1), user(2, "Bob twice", 2)])
    shop.load(DAYS[0])
    assert [row[0] for row in shop.rows()] == ["1", "2"], "a source that repeats itself gives one row a key"
    shop.sync([user(2, "Bob", 1)])
    shop.load(DAYS[0])
    assert shop.rows() == [("2", "Bob", DAYS[0])]
    shop.sync([], DAYS[1])
    shop.load(*DAYS[:2])
    assert shop.rows() == [("2", "Bob", DAYS[0])], "an earlier day is history"
    shop.sync([user(7, "Gil", 1)], DAYS[1])
    shop.load(DAYS[1])
    shop.sync([], DAYS[1])
    shop.load(DAYS[1])
    assert shop.rows() == [("2", "Bob", DAYS[0])], "the empty refresh of that day leaves no old row"
    # The same where the destination lands nothing, and the run says so.
    shop.sync([user(7, "Gil", 1)], DAYS[1])
    shop.load(DAYS[1])
    for path in shop.fake.files():
        path.unlink()
    assert say_empty("airbyte/users", date.fromisoformat(DAYS[1]), 1_900_000_000_000)
    shop.load(DAYS[1])
    assert shop.rows() == [("2", "Bob", DAYS[0])]


def test_a_full_refresh_that_appends_keeps_every_copy_unless_there_is_a_key(world):
    shop = world(columns=["version"], key=[])
    shop.how = {"sync": "full_refresh_append"}
    for _ in range(2):
        shop.sync([user(1, "Ann", 1)])
    shop.load(DAYS[0])
    assert len(shop.rows()) == 2
    keyed = world(columns=["version"])
    keyed.how = {"sync": "full_refresh_append"}
    keyed.sync([user(1, "Ann", 1)])
    keyed.load(DAYS[0])
    assert len(keyed.rows()) == 1


def test_a_record_without_a_key_stays(world):
    shop = world(columns=["version"], cursor="version")
    shop.sync([user(1, "Ann", 1), {"name": "nobody", "version": "1"}, {"name": "nobody", "version": "1"}])
    shop.load(DAYS[0])
    assert [row[:2] for row in shop.rows()] == [("1", "Ann"), (None, "nobody"), (None, "nobody")]


def test_bronze_equals_a_source_that_changes_at_random(world, chance: random.Random):
    """Inserts, updates, deletes and returns, by a key of two columns, with a column that comes later."""
    names = ["version", "part", "extra", "_ab_cdc_deleted_at"]
    shop = world(columns=names, cursor="version", key=[["id"], ["part"]])
    log: list[dict[str, Any]] = []
    truth: dict[tuple[int, str], str] = {}
    for at, day in enumerate(DAYS):
        for _ in range(60):
            key, version = (chance.randrange(6), chance.choice("ab")), len(log) + 1
            gone = key in truth and chance.random() < 0.3
            truth.pop(key, None)
            change = {"id": key[0], "part": key[1], "name": f"v{version}", "version": str(version)}
            log.append(
                {**change, **({"extra": "x"} if at else {}), "_ab_cdc_deleted_at": day if gone else None}
            )
            if not gone:
                truth[key] = f"v{version}"
            if chance.random() < 0.1:
                shop.sync(log, day)
        shop.sync(log, day)
        shop.load(day)
        expected = sorted((str(number), part, name) for (number, part), name in truth.items())
        assert sorted(shop.rows("id, part, name")) == expected, day
    shop.load(*chance.sample(DAYS, 2))
    assert sorted(shop.rows("id, part, name")) == expected, "loaded again"
    assert {extra for (extra,) in shop.rows("extra")} <= {None, "x"}


def test_keys_and_cursors_that_are_nested_or_half_empty_lose_no_record(world):
    nested = world(columns=["version"], key=[["about", "id"]], cursor="version")
    assert nested.source.merge is None, "no column holds such a key"
    halves = world(columns=["version", "part"], key=[["id"], ["part"]], cursor="version")
    halves.sync([{**user(1, name, 1), "part": part} for name, part in (("a", "x"), ("b", None), ("c", None))])
    halves.load(DAYS[0])
    assert [name for _, name, _ in halves.rows()] == ["a", "b", "c"]


def test_a_record_of_twenty_megabytes_arrives_whole(world):
    shop = world(columns=["version"], cursor="version")
    shop.sync([user(1, "é" * 10_000_000, 1), user(2, "b", 2)])
    shop.load(DAYS[0])
    assert shop.rows("id, length(name)") == [("1", 10_000_000), ("2", 1)]
