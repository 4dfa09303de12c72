"""File sources that a region in the path cuts beside time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from asgard_assets.components.file_sensor import file_sensor
from asgard_assets.components.files import Load, Reload, file_asset
from asgard_assets.ingest.files.plan.quarantine import quarantined
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings

DAYS = ("2026-10-05", "2026-10-06")
KEY = dg.AssetKey(["bronze", "orders"])
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def source(**changes: Any) -> FileSource:
    told = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}
    return FileSource.model_validate(told | {"partitions": {"region": ["eu", "us"]}} | changes)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def landing(settings: Settings) -> Path:
    return Path(settings.landing_root) / "orders"


def drop(
    landing: Path, folders: str, content: str, name: str = "a.csv", modified: float | None = None
) -> None:
    path = landing / folders / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if modified:
        os.utime(path, (modified, modified))


def load(instance: dg.DagsterInstance, about: FileSource, first: str, last: str = "", **how: Any) -> Any:
    tags: dict[str, str] = dict(zip(RANGE, (first, last), strict=True)) if last else {}
    return dg.materialize(
        [file_asset(about)], resources=resources(), instance=instance, raise_on_error=False,
        partition_key=None if last else first, tags=tags, **how,
    )  # fmt: skip


def rows(lake: Lake) -> list[tuple[str, ...]]:
    table = lake.table("bronze", "orders")
    assert table is not None
    found = table.to_pyarrow_table(columns=["id", "region", "ds"]).to_pylist()
    return sorted(tuple(row.values()) for row in found)


def tick(instance: dg.DagsterInstance, about: FileSource) -> Any:
    sensor = file_sensor(about)
    defs = dg.Definitions(assets=[file_asset(about)], sensors=[sensor], resources=resources())
    return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=defs))


@pytest.mark.parametrize("write", ["append", "overwrite"])
def test_a_file_belongs_to_the_region_of_its_folder_and_a_newer_one_replaces_its_slice_alone(
    lake: Lake, landing: Path, instance: dg.DagsterInstance, write: str
):
    about = source(write={"type": write})
    for day in DAYS:
        for region in ("eu", "us"):
            drop(landing, f"ds={day}/region={region}", f"id\n{region}-{day[-1]}\n")
    assert load(instance, about, f"{DAYS[0]}|eu", f"{DAYS[1]}|eu").success
    assert rows(lake) == [("eu-5", "eu", DAYS[0]), ("eu-6", "eu", DAYS[1])]
    assert load(instance, about, f"{DAYS[0]}|us").success
    drop(landing, f"ds={DAYS[0]}/region=eu", "id\nnew\n", modified=4e9)
    assert load(instance, about, f"{DAYS[0]}|eu").success
    assert rows(lake) == [("eu-6", "eu", DAYS[1]), ("new", "eu", DAYS[0]), ("us-5", "us", DAYS[0])]
    assert lake.epochs("bronze", "orders", [f"{DAYS[0]}|eu", f"{DAYS[0]}|us"]) == {
        f"{DAYS[0]}|eu": 2,
        f"{DAYS[0]}|us": 1,
    }
    assert lake.table("bronze", "orders").metadata().partition_columns == ["ds", "region"]  # type: ignore[union-attr]


def test_a_group_of_the_pattern_names_the_region_too(lake: Lake, landing: Path, instance: dg.DagsterInstance):
    pattern = r"(?P<region>[a-z]+)_(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    about = source(ds={"type": "path", "pattern": pattern})
    drop(landing, "in", "id\n1\n", "us_20261005.csv")
    assert load(instance, about, f"{DAYS[0]}|us").success
    assert rows(lake) == [("1", "us", DAYS[0])]


def test_bad_records_are_repaired_in_their_own_slice(lake: Lake, landing: Path, instance: dg.DagsterInstance):
    about = source()
    for region in ("eu", "us"):
        drop(landing, f"ds={DAYS[0]}/region={region}", "id,n\n1,2\n3\n")
        load(instance, about, f"{DAYS[0]}|{region}")
    path = "orders/ds=2026-10-05/region=%s/a.csv"
    assert quarantined(lake, "orders", about) == {
        f"{DAYS[0]}|{region}": {path % region: 1} for region in ("eu", "us")
    }
    again = {"ops": {"files_orders": {"config": Reload(reload=Load.quarantined).model_dump(mode="json")}}}
    assert load(instance, about, f"{DAYS[0]}|eu", run_config=again).success
    assert len(rows(lake)) == 2


def test_the_sensor_asks_for_slices_and_says_which_files_belong_to_none(
    lake: Lake, landing: Path, instance: dg.DagsterInstance
):
    drop(landing, f"ds={DAYS[0]}/region=eu", "id\n1\n")
    drop(landing, f"ds={DAYS[0]}/region=asia", "id\n1\n")
    drop(landing, f"ds={DAYS[0]}", "id\n1\n", "nowhere.csv")
    [asked] = tick(instance, source()).run_requests
    assert asked.partition_key == f"{DAYS[0]}|eu"
    (landing / f"ds={DAYS[0]}/region=eu/a.csv").unlink()
    told = tick(instance, source()).skip_message
    assert "nowhere.csv" in told and "no region" in told and f"outside the calendar: {DAYS[0]}|asia" in told


def test_a_new_tenants_files_bring_its_partitions(lake: Lake, landing: Path, instance: dg.DagsterInstance):
    about = source(partitions={"tenant": "dynamic"})
    drop(landing, f"ds={DAYS[0]}/tenant=acme", "id\n1\n")
    first = tick(instance, about)
    [added] = first.dynamic_partitions_requests
    assert (added.partitions_def_name, list(added.partition_keys)) == ("tenant", ["acme"])
    instance.add_dynamic_partitions("tenant", ["acme"])
    [asked] = tick(instance, about).run_requests
    assert asked.partition_key == f"{DAYS[0]}|acme"
    assert load(instance, about, f"{DAYS[0]}|acme").success
    assert not tick(instance, about).run_requests


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ds": {"type": "column", "name": "at"}}, "@silver(partitions="),
        ({"write": {"type": "upsert", "key": ["id"]}}, "goes with neither upsert nor"),
        ({"merge": {"key": ["id"]}}, "goes with neither upsert nor"),
        ({"columns": {"region": {"type": "string"}}}, "leave it out"),
        ({"partitions": {"region": ["e u"]}}, "cannot name a partition"),
        ({"partitions": {"region": ["eu"], "tenant": ["a"]}}, "one column beside time"),
    ],
)
def test_what_goes_by_rows_is_refused(changes: dict[str, Any], why: str):
    with pytest.raises(ValidationError, match="partitions") as raised:
        source(**changes)
    assert why in str(raised.value)
    assert json.dumps(source().model_dump(mode="json"))
