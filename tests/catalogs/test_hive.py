"""A real Hive Metastore, of both generations, gets the names and columns of tables through all that happens to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.catalogs.hive import HiveMetastore
from asgard_assets.catalogs.registration import chosen, standings, sync
from asgard_assets.errors import CatalogError, ConfigError
from asgard_assets.lake import Lake
from asgard_assets.operations.changes import places
from asgard_assets.settings import Settings
from tests.catalogs.readers import COLUMNS, DAYS, TABLE, publish, row
from tests.servers.hive import FOUR, THREE, metastore

pytestmark = pytest.mark.servers
GOLD = ("gold/*",)


@pytest.fixture(scope="module", params=[THREE, pytest.param(FOUR, marks=pytest.mark.soak)])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with metastore(tmp_path_factory.mktemp("hive") / "server", request.param) as found:
        yield found


@pytest.fixture
def catalog(address: str) -> Iterator[HiveMetastore]:
    found = HiveMetastore(address)
    yield found
    with found._client("cleaning up") as client:
        for database in client.get_all_databases():
            for name in client.get_all_tables(database):
                client.drop_table(database, name, False)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def kept(catalog: HiveMetastore, database: str = "gold", name: str = "orders") -> Any:
    """The table as any client of the metastore sees it."""
    from asgard_assets.catalogs.hive import _load

    with catalog._client("looking") as client:
        return _load(client, database, name)


def test_a_table_is_registered_once_with_its_columns_and_its_address(lake: Lake, catalog: HiveMetastore):
    assert catalog.follow(lake, TABLE).done == "absent"
    version = publish(lake, DAYS[:1], [row(1, DAYS[0])])
    done = catalog.follow(lake, TABLE)
    assert (done.done, done.version) == ("registered", version)
    found = kept(catalog)
    assert found.sd.serdeInfo.parameters["path"] == f"file://{lake.path('gold', 'orders')}"
    assert (found.tableType, found.parameters["spark.sql.sources.provider"]) == ("EXTERNAL_TABLE", "delta")
    assert {each.name: each.type for each in found.sd.cols} == {
        "id": "bigint", "name": "string", "amount": "decimal(18,4)", "ratio": "double", "small": "int",
        "good": "boolean", "at": "timestamp", "day": "date", "raw": "binary", "tags": "array<string>",
        "inside": "struct<a:bigint,b:array<struct<c:string>>>", "ds": "string",
    }  # fmt: skip
    publish(lake, DAYS[1:], [row(2, DAYS[1])])
    assert [each.current for each in standings(lake, "hive", GOLD)] == [False]
    assert catalog.follow(lake, TABLE).done == "current"  # the name is the same, and so are the columns
    assert [each.current for each in standings(lake, "hive", GOLD)] == [True]
    assert catalog.tables() == [TABLE]


def test_a_new_column_and_a_restored_version_are_seen(lake: Lake, catalog: HiveMetastore):
    first = publish(lake, DAYS[:1], [row(1, DAYS[0])])
    catalog.follow(lake, TABLE)
    publish(lake, DAYS[:1], [row(1, DAYS[0], note="new")], {"note": pa.string()})
    assert catalog.follow(lake, TABLE).done == "registered"
    assert "note" in [each.name for each in kept(catalog).sd.cols]
    table = lake.table("gold", "orders")
    assert table is not None
    table.restore(first)
    assert catalog.follow(lake, TABLE).done == "registered"
    assert "note" not in [each.name for each in kept(catalog).sd.cols]
    assert catalog.version(TABLE) == lake.version("gold", "orders")


def test_a_renamed_table_has_its_new_name_and_a_dropped_one_none(lake: Lake, catalog: HiveMetastore):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    catalog.follow(lake, TABLE)
    with dg.DagsterInstance.ephemeral() as instance:
        for step in places.table(lake, TABLE, "gold/sales", instance).steps:
            step.do()
    behind = [each.table for each in standings(lake, "hive", GOLD) if not each.current]
    assert behind == ["gold/sales", TABLE]
    assert [each.done for each in sync(lake, catalog, behind)] == ["registered", "dropped"]  # pyright: ignore
    assert catalog.tables() == ["gold/sales"]
    shutil.rmtree(lake.path("gold", "sales"))
    assert chosen(lake, catalog, GOLD) == ["gold/sales"]
    assert [each.done for each in sync(lake, catalog, ["gold/sales"])] == ["dropped"]  # pyright: ignore
    assert catalog.tables() == [] and standings(lake, "hive", GOLD) == []


def test_what_somebody_did_in_the_metastore_is_repaired(lake: Lake, catalog: HiveMetastore):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    catalog.follow(lake, TABLE)
    with catalog._client("dropping") as client:
        client.drop_table("gold", "orders", True)  # with its data, as an engine would say it
    assert lake.table("gold", "orders") is not None and len(lake.files("gold", "orders")) == 1
    assert [each.done for each in sync(lake, catalog, chosen(lake, catalog, GOLD))] == ["registered"]  # pyright: ignore
    shutil.rmtree(lake.path("_catalogs", "hive"))  # receipts
    assert [each.done for each in sync(lake, catalog, chosen(lake, catalog, GOLD))] == ["current"]  # pyright: ignore


def test_a_table_made_anew_or_moved_has_its_new_address(lake: Lake, catalog: HiveMetastore, tmp_path: Path):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    catalog.follow(lake, TABLE)
    shutil.copytree(lake.root, tmp_path / "other")
    other = Lake(str(tmp_path / "other"))
    assert catalog.follow(other, TABLE).done == "registered"
    assert kept(catalog).sd.serdeInfo.parameters["path"] == f"file://{other.path('gold', 'orders')}"


def test_a_table_of_somebody_else_is_not_touched(lake: Lake, catalog: HiveMetastore):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    catalog.follow(lake, TABLE)
    theirs = kept(catalog)
    theirs.parameters = {"EXTERNAL": "TRUE"}
    with catalog._client("making") as client:
        client.drop_table("gold", "orders", False)
        client.create_table(theirs)
    with pytest.raises(CatalogError, match="does not come from it"):
        catalog.follow(lake, TABLE)
    assert kept(catalog).parameters.get("spark.sql.sources.provider") is None


def test_syncs_at_once_end_at_the_newest_columns(lake: Lake, address: str, catalog: HiveMetastore):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            publish(lake, DAYS[:1], [row(1, DAYS[0], **{f"n{number}": "x"})], {f"n{number}": pa.string()})
            done = list(pool.map(lambda _: HiveMetastore(address).follow(lake, TABLE), range(3)))
            assert {each.version for each in done} == {lake.version("gold", "orders")}
    table = lake.table("gold", "orders")
    assert table is not None
    assert [each.name for each in kept(catalog).sd.cols] == [each.name for each in table.schema().fields]


def test_one_that_is_down_is_passed_over_for_the_next_of_its_addresses(
    lake: Lake, address: str, catalog: HiveMetastore
):
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    with pytest.raises(CatalogError, match="Hive Metastore: gold/orders cannot follow"):
        HiveMetastore("thrift://127.0.0.1:1").follow(lake, TABLE)
    assert HiveMetastore(f"thrift://127.0.0.1:1,{address}").follow(lake, TABLE).done == "registered"


def test_columns_of_odd_names_are_kept(lake: Lake, catalog: HiveMetastore):
    odd = {
        "Größe": pa.int16(),
        "select": pa.struct([("Straße", pa.string())]),
        "m": pa.map_(pa.string(), pa.int8()),
    }
    publish(lake, DAYS[:1], [row(1, DAYS[0])], odd)
    assert catalog.follow(lake, TABLE).done == "registered"
    assert catalog.follow(lake, TABLE).done == "current"
    found = {each.name.lower(): each.type for each in kept(catalog).sd.cols}
    assert found["größe"] == "smallint" and found["m"] == "map<string,tinyint>"
    assert len(found) == len(COLUMNS) + 1 + len(odd)


@pytest.mark.parametrize("given", ["metastore:9083", "http://metastore:9083", "thrift://"])
def test_an_address_that_is_none_is_refused(given: str):
    with pytest.raises((ConfigError, ValueError), match="(?i)hive_metastore"):
        HiveMetastore(Settings(hive_metastore=given).hive_metastore)
