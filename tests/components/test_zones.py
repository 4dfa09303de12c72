"""Tables of one zone are fed by tables of another: by whole hours, or by rows that are cut where a day ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster_shared.serdes import deserialize_value, serialize_value

from asgard_assets.components.files import file_asset
from asgard_assets.components.following.reads import inputs_of
from asgard_assets.components.following.zones import ZonesMapping, between_zones
from asgard_assets.components.partitions import windows
from asgard_assets.components.silver import silver_asset
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.transforms.silver import silver, within
from asgard_assets.transforms.windows_read import WindowsRead
from asgard_assets.windows import Calendar, Every

BERLIN, TOKYO, KOLKATA = "Europe/Berlin", "Asia/Tokyo", "Asia/Kolkata"
LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PARTITION_START": "2026-10-01", "PARTITION_END": "", "TIME_ZONE": BERLIN}.items():
        monkeypatch.setenv(f"ASGARD_{name}", value)


def midnight(day: str, zone: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-12-31", "2028-02-29"])
def test_a_day_of_berlin_reads_the_hours_of_utc_that_lie_in_it(day: str):
    read = WindowsRead("silver/x", Calendar.named(BERLIN), Calendar.named("UTC", "hour"))
    start, end = midnight(day, BERLIN), midnight(str(date.fromisoformat(day) + timedelta(1)), BERLIN)
    hours = [start + timedelta(hours=n) for n in range((end - start) // timedelta(hours=1))]
    assert read.keys([day], LATER) == [f"{hour:%Y-%m-%dT%H}" for hour in hours]
    assert {read.name(key) for key in read.keys([day], LATER)} == {day}


def test_windows_that_are_cut_in_two_need_a_column_with_the_time():
    with pytest.raises(ConfigError, match=r"which these cut in two.*within\("):
        WindowsRead("silver/x", Calendar.named(BERLIN), Calendar.named(TOKYO))
    with pytest.raises(ConfigError, match="cut in two"):
        WindowsRead("silver/x", Calendar.named(KOLKATA), Calendar.named("UTC", "hour")).keys(
            ["2026-10-05"], LATER
        )
    cut = WindowsRead("silver/x", Calendar.named(BERLIN), Calendar.named(TOKYO), "sold_at")
    assert cut.keys(["2026-10-05"], LATER) == ["2026-10-05", "2026-10-06"]


def test_a_lookup_of_another_zone_is_read_up_to_the_last_day_that_is_over():
    for zone, last in ((TOKYO, "2026-10-05"), ("America/Los_Angeles", "2026-10-04")):
        read = WindowsRead("silver/x", Calendar.named(BERLIN), Calendar.named(zone), lookup=True)
        assert read.until(["2026-10-04", "2026-10-05"]) == last
        assert read.name(last) == "2026-10-05"


def source(name: str, zone: str, every: Every) -> FileSource:
    rule = {"type": "folder"}
    columns = {"id": {"type": "bigint"}, "sold_at": {"type": "timestamp"}}
    return FileSource.model_validate(
        {"name": name, "path": name, "ds": rule, "description": "Rows.", "columns": columns, "time_zone": zone, "every": every}
    )  # fmt: skip


def sales_of(*tables: str, every: Every = "day"):
    inputs = tuple(within(table, at="sold_at") for table in tables)

    @silver(
        inputs=inputs,
        key=("id",),
        columns={"id": "bigint", "sold_at": "timestamp"},
        description="Sales.",
        every=every,
    )
    def sales(tokyo):
        return tokyo.select("id", "sold_at", "ds")

    return sales


def project(*tables: str, every: Every = "day") -> dg.Definitions:
    assets = [file_asset(source("tokyo", TOKYO, "day")), silver_asset(sales_of("bronze.tokyo", every=every))]
    resources: dict[str, Any] = dict.fromkeys(("lake", "spark", "step_launcher"))
    return between_zones(dg.Definitions(assets=assets, resources=resources))


def test_edges_between_zones_map_windows_that_share_time_in_every_direction():
    defs = project()
    graph = defs.resolve_asset_graph()
    bronze, made = dg.AssetKey(["bronze", "tokyo"]), dg.AssetKey(["silver", "sales"])
    assert graph.get(bronze).partitions_def == windows("day", TOKYO)
    up = graph.get_parent_partition_keys_for_child("2026-10-05", bronze, made)
    assert sorted(up.partitions_subset.get_partition_keys()) == ["2026-10-05", "2026-10-06"]
    down = graph.get_child_partition_keys_of_parent("2026-10-05", bronze, made)
    assert sorted(down) == ["2026-10-04", "2026-10-05"]
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    [found] = [each.edge for each in inputs_of(specs[made], specs)]
    assert found.bounds("2026-10-05") == ("2026-10-05", "2026-10-06")
    assert found.within("2026-10-05", midnight("2026-10-06", TOKYO)) == ["2026-10-05"]


def test_other_processes_of_dagster_read_the_mapping_as_one_of_their_own():
    told = serialize_value(ZonesMapping.of(2))
    assert type(deserialize_value(told)) is dg.AllPartitionMapping


def test_models_and_features_of_another_zone_are_refused_with_the_way_out():
    tokyo = dg.AssetSpec(["silver", "x"], partitions_def=windows("day", TOKYO))
    gold = dg.AssetSpec(["gold", "y"], deps=[tokyo.key], partitions_def=windows(), kinds={"dbt"})
    with pytest.raises(ConfigError, match="let a Silver table bring its rows into windows of Europe/Berlin"):
        between_zones(dg.Definitions(assets=[tokyo, gold]))


def test_a_rule_takes_the_zone_of_its_table_and_two_are_refused():
    rule = {"type": "column", "name": "sold_at"}
    whole = source("x", TOKYO, "day").model_dump(include={"name", "path", "description", "time_zone"})
    assert FileSource.model_validate(whole | {"ds": rule}).calendar.zone == ZoneInfo(TOKYO)
    with pytest.raises(ValueError, match="two zones"):
        FileSource.model_validate(whole | {"ds": rule | {"time_zone": BERLIN}})
    with pytest.raises(ValueError, match="did you mean Asia/Tokyo"):
        FileSource.model_validate(whole | {"ds": rule, "time_zone": "Asia/Tokio"})
