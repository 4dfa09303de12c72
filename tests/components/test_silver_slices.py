"""Silver tables that are cut by a region beside time, and those that read such tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.partitions import daily, partitions_of
from asgard_assets.components.silver import rejected_spec, silver_asset
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.transforms.silver import silver, until
from asgard_assets.transforms.slices import Slices

DAYS, REGIONS = ("2026-10-05", "2026-10-06"), {"region": ["eu", "us"]}
KEYS = [f"{day}|{region}" for day in DAYS for region in REGIONS["region"]]
RATES = pa.schema([("currency", pa.string()), ("rate", pa.int64()), ("ds", pa.string())])
SALES = pa.schema([("id", pa.int64()), ("amount", pa.string()), ("region", pa.string()), ("ds", pa.string())])


@silver(
    inputs=("bronze.sales", until("bronze.rates")),
    key=("id",),
    columns={"id": "bigint", "amount": "bigint", "currency": "string"},
    description="Sales.",
    partitions=REGIONS,
)
def sales(sales, rates, region):
    from pyspark.sql import functions as F

    currency = {"eu": "EUR", "us": "USD"}[region]
    known = rates.where(F.col("currency") == currency).select("rate", "currency").distinct()
    typed = sales.select("id", F.col("amount").try_cast("bigint").alias("number"), "amount", "ds")
    joined = typed.crossJoin(known).withColumn("amount", F.col("number") * F.col("rate"))
    return joined.select("id", "amount", "currency", "ds")


@silver(
    inputs=("silver.sales",),
    key=("id", "region"),
    columns={"id": "bigint", "region": "string"},
    description="All regions.",
)
def together(sales):
    return sales.select("id", "region", "ds")


@silver(
    inputs=("silver.sales",),
    key=("id",),
    columns={"id": "bigint", "days": "int"},
    description="Kept.",
    partitions=REGIONS,
    history=True,
)
def kept(sales, earlier):
    from pyspark.sql import functions as F

    before = earlier.groupBy("id").agg(F.max("days").alias("before"))
    counted = sales.join(before, "id", "left").withColumn("days", F.coalesce("before", F.lit(0)) + 1)
    return counted.select("id", "days", "ds")


@silver(
    inputs=("bronze.rates", until("silver.sales")),
    key=("currency",),
    columns={"currency": "string", "sales": "bigint"},
    description="Sales until now.",
)
def totals(rates, sales):
    from pyspark.sql import functions as F

    return rates.join(sales.groupBy("currency").agg(F.count("id").alias("sales")), "currency").drop("rate")


BRONZE = dg.AssetSpec(["bronze", "sales"], partitions_def=partitions_of("day", "", REGIONS))
LOOKUP = dg.AssetSpec(["bronze", "rates"], partitions_def=daily())


@pytest.fixture
def run(lake: Lake, spark):
    session: Any = type("Session", (), {"session": spark})()
    given = {
        "lake": LakeResource(root=lake.root),
        "spark": dg.ResourceDefinition.hardcoded_resource(session),
        "step_launcher": dg.ResourceDefinition.none_resource(),
    }
    made = [silver_asset(each) for each in (sales, together, kept, totals)]
    assets: Any = between_zones(dg.Definitions(assets=[BRONZE, LOOKUP, *made], resources=given)).assets
    with dg.DagsterInstance.ephemeral() as instance:

        def materialize(name: str, first: str, last: str = "") -> Any:
            span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            return dg.materialize(
                assets, selection=[dg.AssetKey(["silver", name])], resources=given, instance=instance,
                partition_key=None if last else first, tags=span if last else {}, raise_on_error=False,
            )  # fmt: skip

        yield materialize


def put(lake: Lake, keys: list[str]) -> None:
    rows = [(number, str(number), key[11:], key[:10]) for key in keys for number in (1, 2)]
    staging = lake.stage("bronze", "sales", SALES, keys, dimension="region")
    lake.write(staging, pa.table([*map(list, zip(*rows, strict=True))], schema=SALES))
    lake.publish(staging)
    rates = lake.stage("bronze", "rates", RATES, [DAYS[0]])
    lake.write(rates, pa.table([["EUR", "USD"], [1, 100], [DAYS[0]] * 2], schema=RATES))
    lake.publish(rates)


@pytest.fixture(scope="module", autouse=True)
def few_rows(spark) -> Iterator[None]:
    """Compiling each query takes longer than running it on four rows."""
    small = {
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    }
    before = {name: spark.conf.get(name) for name in small}
    for name, value in small.items():
        spark.conf.set(name, value)
    yield
    for name, value in before.items():
        spark.conf.set(name, value)


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.execute(query).fetchall()


def test_a_slice_reads_its_own_region_and_is_published_alone(lake: Lake, run):
    put(lake, KEYS)
    assert run("sales", KEYS[1]).success
    found = rows(lake, "select ds, region, id, amount, currency from silver.sales order by all")
    assert found == [(DAYS[0], "us", 1, 100, "USD"), (DAYS[0], "us", 2, 200, "USD")]
    result = run("sales", KEYS[0], KEYS[3])
    assert result.success
    counted = rows(
        lake, "select ds, region, count(*), sum(amount) from silver.sales group by all order by all"
    )
    assert counted == [
        (day, region, 2, 3 if region == "eu" else 300) for day in DAYS for region in ("eu", "us")
    ]
    assert lake.epochs("silver", "sales", KEYS) == dict(zip(KEYS, (1, 2, 1, 1), strict=True))
    told = {
        event.step_materialization_data.materialization.partition: event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key.path[-2:] == ["silver", "sales"]
    }
    assert {key: told[key]["rows_read"].value for key in KEYS} == dict.fromkeys(KEYS, 2)


def test_a_table_by_days_reads_all_regions_and_waits_for_them(lake: Lake, run):
    put(lake, KEYS)
    assert run("sales", KEYS[0]).success
    failed = run("together", DAYS[0])
    [event] = failed.get_step_failure_events()
    assert f"silver/sales has no data for {KEYS[1]}" in str(event.step_failure_data.error.cause)
    assert run("sales", KEYS[1]).success and run("together", DAYS[0]).success
    found = rows(lake, "select id, region from silver.together order by all")
    assert found == [(1, "eu"), (1, "us"), (2, "eu"), (2, "us")]


@pytest.mark.soak
def test_a_lookup_reads_all_regions_up_to_the_day(lake: Lake, run):
    put(lake, KEYS)
    assert run("sales", KEYS[0], KEYS[2]).success and run("sales", KEYS[1]).success
    assert run("totals", DAYS[0]).success
    found = rows(lake, "select currency, sales from silver.totals order by all")
    assert found == [("EUR", 2), ("USD", 2)]


@pytest.mark.soak
def test_history_goes_on_in_each_region_by_itself(lake: Lake, run):
    put(lake, KEYS)
    for key in KEYS:
        assert run("sales", key).success
    assert run("kept", KEYS[0]).success and run("kept", KEYS[2]).success
    assert not run("kept", KEYS[3]).success, "its own region's day before is not there"
    found = rows(lake, "select ds, region, id, days from silver.kept order by all")
    assert found == [
        (DAYS[0], "eu", 1, 1),
        (DAYS[0], "eu", 2, 1),
        (DAYS[1], "eu", 1, 2),
        (DAYS[1], "eu", 2, 2),
    ]


def test_what_a_slice_needs_of_each_kind_of_input():
    known = Slices(
        "region", {"a/same": ("region", ()), "a/other": ("tenant", ("x", "y")), "a/added": ("tenant", ())}
    )
    assert known.absent("a/plain", DAYS, "eu", [DAYS[0]]) == [DAYS[1]]
    assert known.absent("a/same", DAYS, "eu", [KEYS[0], KEYS[3]]) == [KEYS[2]]
    assert known.absent("a/other", DAYS[:1], "eu", [f"{DAYS[0]}|x"]) == [f"{DAYS[0]}|y"]
    assert known.absent("a/added", DAYS, "eu", [f"{DAYS[1]}|any"]) == [DAYS[0]]


def test_its_rejected_rows_are_cut_alike_and_a_parameter_that_is_no_input_is_refused():
    assert rejected_spec(sales).partitions_def == BRONZE.partitions_def
    with pytest.raises(ConfigError, match="name its parameters like its inputs"):
        silver(inputs=("bronze.x",), key=("id",), columns={"id": "bigint"}, description="X.")(
            lambda x, region: x
        )
