"""What runs have cost: each run once, whatever the number of its partitions, by run, table and owner."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import table_asset
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.operations.costs.figures import Cost, costs, month_of, summed
from asgard_assets.operations.costs.month import keep, of_month
from asgard_assets.quality.tables import Column, TableSpec
from asgard_assets.settings import Settings

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]


def table(name: str, owner: str, size: int, **more: int) -> dg.AssetsDefinition:
    spec = TableSpec(
        stage="silver", name=name, description="d", key=("id",), columns={"id": Column(type="bigint", description="i")},
        owners=(owner,), kinds=("spark",),
    )  # fmt: skip

    @table_asset(spec, name=name, partitions_def=daily(), checks=[])
    def body(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        assert sum(range(200_000)) > 0
        for day in context.partition_keys:
            context.add_asset_metadata({"bytes": 1}, asset_key=spec.asset_key, partition_key=day)
        yield dg.MaterializeResult(asset_key=dg.AssetKey(spec.asset_key), metadata={"bytes": size, **more})

    return body


def test_each_run_counts_once_by_run_table_and_owner(settings: Settings) -> None:
    assets = [table("orders", "team:shop", 1000, requests=7), table("users", "team:crm", 10)]
    priced = settings.model_copy(update={"dbu_per_hour": 3600.0, "cost_per_dbu_hour": 2.0, "spark_cores": 4})
    with dg.DagsterInstance.ephemeral() as instance:
        span = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
        for _ in range(2):
            assert dg.materialize(assets, selection=["silver/orders"], tags=span, instance=instance).success
        assert dg.materialize(
            assets, selection=["silver/users"], partition_key=DAYS[0], instance=instance
        ).success
        specs = [spec for asset in assets for spec in asset.specs]
        start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
        found = costs(instance, specs, start, end, priced)
        assert [(c.table, c.partitions, c.bytes, c.requests) for c in found] == [
            ("silver/orders", 3, 1000, 7),
            ("silver/orders", 3, 1000, 7),
            ("silver/users", 1, 10, 0),
        ]
        for cost in found:
            assert cost.seconds > 0 and cost.cpu_seconds >= 0
            assert cost.money == pytest.approx(cost.seconds * 2) and cost.spark_hours == pytest.approx(
                cost.seconds * 4 / 3600
            )
        assert costs(instance, specs, start, start, priced) == []
    assert len(summed(found, "run")) == 3
    tables = {line.table: line for line in summed(found, "table")}
    assert (tables["silver/orders"].runs, tables["silver/orders"].bytes) == (2, 2000)
    assert {line.owner: line.partitions for line in summed(found, "owner")} == {"team:shop": 6, "team:crm": 1}


def test_a_month_is_kept_when_the_history_is_gone(lake: Lake) -> None:
    def cost(run: str, day: int, table: str = "silver/a") -> Cost:
        return Cost(table, "team:a", run, datetime(2026, 10, day, 23, 30, tzinfo=UTC), seconds=1.0, money=0.5)

    assert keep(lake, [cost("1", 5), cost("1", 5, "silver/b")], "Europe/Berlin") == ["2026-10-01"]
    assert keep(lake, [cost("2", 31), cost("1", 5)], "Europe/Berlin") == ["2026-10-01", "2026-11-01"]
    october = of_month(lake, [cost("3", 7)], datetime(2026, 10, 1, tzinfo=UTC))
    assert [(c.run_id, c.table) for c in october] == [("1", "silver/a"), ("1", "silver/b"), ("3", "silver/a")]
    assert keep(lake, [], "UTC") == []


def test_a_month_is_of_the_projects_zone() -> None:
    first, end = month_of("2026-12", "Europe/Berlin")
    assert first.isoformat() == "2026-12-01T00:00:00+01:00" and end.isoformat() == "2027-01-01T00:00:00+01:00"
    with pytest.raises(ConfigError, match="'October' is no month; write 2026-10"):
        month_of("October", "UTC")
