"""What automation asks for when data comes late: the days that look back at it, and no others."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.automation import looking_back, on_upstream_change
from asgard_assets.components.dbt import DbtModels
from asgard_assets.components.partitions import daily
from asgard_assets.components.silver import silver_asset, tables_in
from asgard_assets.errors import ConfigError
from tests.checkout import ROOT

ALL = daily().get_partition_keys()
LAST = datetime.fromisoformat(ALL[-1]) + timedelta(days=1, hours=1)
METRICS, REVENUE = dg.AssetKey(["gold", "customer_metrics"]), dg.AssetKey(["gold", "revenue_daily"])
BRONZE = [dg.AssetKey(["bronze", name]) for name in ("users", "contacts", "purchases", "usage", "tickets", "invoices", "products")]  # fmt: skip


class Daemon:
    """Automation of some definitions, in which every run asked for succeeds at once."""

    def __init__(self, instance: dg.DagsterInstance, defs: dg.Definitions, at: datetime = LAST) -> None:
        self.instance, self.defs, self.at, self.cursor = instance, defs, at, None

    def arrive(self, key: dg.AssetKey, *days: str) -> None:
        for day in days:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))

    def ask(self) -> dict[dg.AssetKey, list[str]]:
        """One tick; what it asks for stays undone."""
        found = dg.evaluate_automation_conditions(
            self.defs, self.instance, cursor=self.cursor, evaluation_time=self.at
        )
        self.cursor = found.cursor
        keys = self.defs.resolve_asset_graph().materializable_asset_keys
        asked = {key: sorted(filter(None, found.get_requested_partitions(key))) for key in sorted(keys)}
        return {key: days for key, days in asked.items() if days}

    def tick(self) -> dict[dg.AssetKey, list[str]]:
        asked = self.ask()
        for key, days in asked.items():
            self.arrive(key, *days)
        return asked

    def settle(self) -> dict[dg.AssetKey, list[str]]:
        """Ticks until nothing more is asked for; all that was."""
        total: dict[dg.AssetKey, list[str]] = {}
        for _ in range(10):
            asked = self.tick()
            if not asked:
                return total
            for key, days in asked.items():
                total[key] = sorted({*total.get(key, []), *days})
        raise AssertionError("automation does not come to rest")


@pytest.fixture(scope="module")
def path() -> dg.Definitions:
    """Bronze by name only; the project's own Silver functions and dbt models."""
    import importlib

    bronze = [dg.AssetSpec(key, partitions_def=daily()) for key in BRONZE]
    modules = [
        importlib.import_module(f"asgard_assets.defs.silver.{file.stem}")
        for file in sorted((ROOT / "asgard_assets/defs/silver").glob("[a-z]*.py"))
    ]
    silver = [silver_asset(table) for module in modules for table in tables_in(module)]
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    gold = DbtModels(project=DbtProject(ROOT / "dbt_project"), translation_settings=settings)
    loaded = gold.build_defs(dg.ComponentTree.for_test().load_context)
    resources = dict.fromkeys(("lake", "spark", "step_launcher"))
    return dg.Definitions.merge(loaded, dg.Definitions(assets=[*bronze, *silver], resources=resources))


def everything(path: dg.Definitions) -> list[dg.AssetKey]:
    return [*BRONZE, *sorted(path.resolve_asset_graph().materializable_asset_keys)]


@pytest.fixture
def daemon(path: dg.Definitions):
    """Everything up to date, and automation at rest."""
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(instance, path)
        for key in everything(path):
            daemon.arrive(key, *ALL)
        daemon.settle()
        yield daemon


@pytest.mark.parametrize("name", ["invoices", "usage", "purchases"])
def test_a_late_correction_in_bronze_reaches_every_gold_day_that_looks_back_at_it(daemon: Daemon, name: str):
    late = ALL[9]
    daemon.arrive(dg.AssetKey(["bronze", name]), late)
    asked = daemon.settle()
    assert asked[dg.AssetKey(["silver", name])] == [late]
    assert asked[METRICS] == ALL[9:]
    assert asked[REVENUE] == ALL[9:]


def test_a_late_row_of_a_lookup_reaches_the_silver_days_after_it(daemon: Daemon):
    daemon.arrive(dg.AssetKey(["bronze", "products"]), ALL[9])
    assert daemon.settle()[dg.AssetKey(["silver", "purchases"])] == ALL[9:]


def test_the_newest_day_waits_for_all_of_its_upstreams(daemon: Daemon, path: dg.Definitions):
    with dg.DagsterInstance.ephemeral() as instance:
        fresh = Daemon(instance, path)
        for key in everything(path):
            fresh.arrive(key, *ALL[:-1])
        fresh.settle()
        silver = [key for key in path.resolve_asset_graph().get(METRICS).parent_keys]
        for key in silver[:-1]:
            fresh.arrive(key, ALL[-1])
        assert METRICS not in fresh.settle()
        fresh.arrive(silver[-1], ALL[-1])
        assert fresh.settle()[METRICS] == ALL[-1:]


def specs(**metadata: object) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            ["gold", "totals"],
            deps=[["silver", "usage"], ["silver", "orders"]],
            partitions_def=daily(),
            automation_condition=on_upstream_change(),
            metadata=metadata,
        )
    ]


def offsets(found: list[dg.AssetSpec]) -> dict[str, int | None]:
    mappings = {dep.asset_key.to_user_string(): dep.partition_mapping for dep in found[0].deps}
    return {
        key: m.start_offset if isinstance(m, dg.TimeWindowPartitionMapping) else None
        for key, m in mappings.items()
    }


def test_a_lookback_is_declared_for_all_upstreams_or_for_some():
    assert offsets(looking_back(specs(lookback_days=30))) == {"silver/usage": -30, "silver/orders": -30}
    assert offsets(looking_back(specs(lookback_days={"silver/usage": 7}))) == {
        "silver/usage": -7,
        "silver/orders": None,
    }
    assert offsets(looking_back(specs())) == {"silver/usage": None, "silver/orders": None}
    with pytest.raises(ConfigError, match="gold/totals: lookback_days is 'long'"):
        looking_back(specs(lookback_days="long"))


BRONZE_X, SILVER_X = dg.AssetKey(["bronze", "x"]), dg.AssetKey(["silver", "x"])


def follower(body: object = None) -> dg.Definitions:
    """Silver that follows Bronze as every table does; `body` is called with the day."""

    @dg.asset(
        key=SILVER_X, deps=[BRONZE_X], partitions_def=daily(), automation_condition=on_upstream_change()
    )
    def silver(context) -> None:  # Dagster cannot read the annotation as the string that it is here
        if callable(body):
            body(context.partition_key)

    return dg.Definitions(assets=[dg.AssetSpec(BRONZE_X, partitions_def=daily()), silver])


def test_an_update_while_the_day_is_built_is_asked_for_again():
    with dg.DagsterInstance.ephemeral() as instance:
        asked_meanwhile: list[dict[dg.AssetKey, list[str]]] = []

        def update(day: str) -> None:
            daemon.arrive(BRONZE_X, day)
            asked_meanwhile.append(daemon.ask())

        defs = follower(update)
        daemon = Daemon(instance, defs)
        daemon.ask()
        daemon.arrive(BRONZE_X, ALL[5])
        assert daemon.ask() == {SILVER_X: [ALL[5]]}
        dg.materialize(defs.assets or [], selection=[SILVER_X], partition_key=ALL[5], instance=instance)
        assert asked_meanwhile == [{}]
        assert daemon.ask() == {SILVER_X: [ALL[5]]}
        daemon.arrive(SILVER_X, ALL[5])
        assert daemon.ask() == {}


def test_days_that_were_never_built_are_asked_for_however_old(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2024-11-02")
    days = daily().get_partition_keys()
    assert len(days) == 730
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(instance, follower())
        daemon.ask()
        for day in days:
            daemon.arrive(BRONZE_X, day)
        assert daemon.settle() == {SILVER_X: days}


def test_a_table_that_is_added_later_is_built_for_the_inputs_that_exist():
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(instance, follower())
        for day in ALL[:7]:
            daemon.arrive(BRONZE_X, day)
        assert daemon.settle() == {SILVER_X: ALL[:7]}
