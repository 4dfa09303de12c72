"""The window that is still open: a partition from its first moment, asked for by nobody below Bronze before it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.partitions import daily, windows
from asgard_assets.components.tables import Release, refuse_open, report, table_asset
from asgard_assets.errors import ConfigError
from asgard_assets.quality.audit import Audit
from asgard_assets.quality.tables import TableSpec
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar

BRONZE, SILVER, WHOLE = (dg.AssetKey([stage, "orders"]) for stage in ("bronze", "silver", "gold"))


@pytest.fixture(autouse=True)
def calendar(monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-10-05")
    monkeypatch.setenv("ASGARD_PARTITION_END", "")


def contract(stage: str) -> TableSpec:
    return TableSpec(stage=stage, name="orders", description="Orders.", key=("id",))


def definitions() -> dg.Definitions:
    @table_asset(contract("bronze"), name="bronze", partitions_def=daily())
    def bronze(context): ...

    @table_asset(
        contract("silver"),
        name="silver",
        deps=[BRONZE],
        partitions_def=daily(),
        automation=on_upstream_change(),
    )
    def silver(context): ...

    @table_asset(contract("gold"), name="whole", deps=[SILVER], automation=on_upstream_change())
    def whole(context): ...

    return dg.Definitions(assets=[bronze, silver, whole])


class World:
    """Ticks of the automation sensor, at any time; what they ask for is done at once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance, self.cursor = definitions(), instance, None

    def put(self, key: dg.AssetKey, day: str | None) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))

    def tick(self, now: datetime) -> dict[str, list[str | None]]:
        found = dg.evaluate_automation_conditions(
            self.defs, self.instance, cursor=self.cursor, evaluation_time=now
        )
        self.cursor, asked = found.cursor, {}
        known = self.defs.resolve_asset_graph().get_all_asset_keys()
        for key in (BRONZE, SILVER, WHOLE):
            if key in known and (days := sorted(found.get_requested_partitions(key), key=str)):
                asked[key.to_user_string()] = days
                for day in days:
                    self.put(key, day)
        return asked

    def settled(self, now: datetime) -> dict[str, list[str | None]]:
        """What ticks ask for until nothing is left."""
        asked: dict[str, list[str | None]] = {}
        while found := self.tick(now):
            asked |= found
        return asked


def test_files_of_an_open_day_ask_for_nothing_below_until_it_has_ended():
    with dg.DagsterInstance.ephemeral() as instance:
        world, noon = World(instance), datetime(2026, 11, 10, 12)
        for day in Calendar().between("2026-10-05", "2026-11-09"):
            world.put(BRONZE, day)
            world.put(SILVER, day)
        world.tick(noon)
        for _ in range(3):
            world.put(BRONZE, "2026-11-10")
            assert world.tick(noon) == {}
        world.put(BRONZE, "2026-11-09")
        both = {"silver/orders": ["2026-11-09"], "gold/orders": [None]}
        assert world.settled(noon) == both, "yesterday goes on as ever, and so does a table without days"
        both["silver/orders"] = ["2026-11-10"]
        assert world.settled(noon + timedelta(hours=13)) == both


def test_a_calendar_that_has_ended_has_no_open_window(monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-11-02")
    with dg.DagsterInstance.ephemeral() as instance:
        world, now = World(instance), datetime(2026, 12, 1)
        world.tick(now)
        world.put(BRONZE, "2026-11-01")
        assert world.tick(now) == {"silver/orders": ["2026-11-01"]}


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_the_open_window_is_a_partition_of_every_calendar(monkeypatch, every):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Asia/Tokyo")
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-09-15")
    calendar = Settings().calendar(every)
    for now in (datetime(2026, 11, 29, 14, 59, tzinfo=UTC), datetime(2026, 11, 29, 15, tzinfo=UTC)):
        with dg.partition_loading_context(now):
            keys = windows(every).get_partition_keys()
        assert list(keys) == calendar.keys(now)
        assert calendar.window(keys[-1]).is_open(now) and not calendar.window(keys[-2]).is_open(now)


def test_features_and_models_refuse_an_open_window():
    spec, noon = contract("model"), datetime(2026, 11, 10, 12, tzinfo=UTC)
    refuse_open(spec, ["2026-11-08", "2026-11-09"], noon)
    with pytest.raises(ConfigError, match="2026-11-10 is open until 2026-11-11T00:00Z"):
        refuse_open(spec, ["2026-11-09", "2026-11-10"], noon)


def test_a_run_says_of_an_open_window_that_it_is_open():
    today = Calendar().key_at(datetime.now(UTC))
    before = Calendar().after(today, -1)

    @table_asset(contract("bronze"), name="bronze", partitions_def=daily(), checks=[])
    def bronze(context):
        days = list(context.partition_keys)
        done = Release(Audit("bronze/orders", dict.fromkeys(days, 1), {}, ()), None, days, {})
        yield from report(context, contract("bronze"), done, days, lambda day: {"about": day}, {})

    with dg.DagsterInstance.ephemeral() as instance:
        for day in (before, today):
            dg.materialize([bronze], partition_key=day, instance=instance)
        events = {
            record.partition_key: record.asset_materialization.metadata
            for record in instance.fetch_materializations(BRONZE, limit=10).records
            if record.asset_materialization
        }
    assert "window" not in events[before]
    assert str(events[today]["window"].value).startswith("open until ")


def test_silver_begins_an_open_window_once_its_inputs_are_there_and_then_keeps_a_pace():
    @table_asset(contract("bronze"), name="bronze", partitions_def=daily())
    def bronze(context): ...

    @table_asset(
        contract("silver"),
        name="silver",
        deps=[BRONZE],
        partitions_def=daily(),
        automation=on_upstream_change(),
        into_open=True,
    )
    def silver(context): ...

    with dg.DagsterInstance.ephemeral() as instance:
        world, noon = World(instance), datetime(2026, 11, 10, 12)
        world.defs = dg.Definitions(assets=[bronze, silver])
        for day in Calendar().between("2026-10-05", "2026-11-09"):
            world.put(BRONZE, day)
            world.put(SILVER, day)
        assert world.tick(noon) == {}, "today has no input"
        world.put(BRONZE, "2026-11-10")
        assert world.tick(noon) == {"silver/orders": ["2026-11-10"]}
        world.put(BRONZE, "2026-11-10")
        assert world.settled(noon) == {}, "the sensor `following` goes on with it"
        assert world.settled(noon + timedelta(hours=13)) == {"silver/orders": ["2026-11-10"]}
