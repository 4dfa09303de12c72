"""An Iceberg table follows its Delta table through all that happens to it, and a second sync changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from asgard_assets.catalogs.iceberg import IcebergCatalog
from asgard_assets.catalogs.receipts import Followed, receipts
from asgard_assets.catalogs.registration import Failed, catalog_of, chosen, standings, sync, wanted
from asgard_assets.errors import CatalogError, ConfigError
from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import maintain
from asgard_assets.operations.changes import columns, places
from asgard_assets.settings import Settings
from tests.catalogs.readers import COLUMNS, DAYS, TABLE, by_delta, by_duckdb, by_pyiceberg, publish, row


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(iceberg=f"sqlite:///{tmp_path}/catalog.db", iceberg_tables=("gold/*",))


@pytest.fixture
def catalog(settings: Settings, lake: Lake) -> IcebergCatalog:
    return catalog_of(settings, lake)


def agree(lake: Lake, catalog: IcebergCatalog) -> int:
    """Both sides hold the same rows, by three readers; gives back how many."""
    expected = by_delta(lake)
    opened = catalog.opened
    assert by_pyiceberg(opened) == expected
    metadata = opened.load_table(tuple(TABLE.split("/"))).metadata_location.removeprefix("file://")
    assert by_duckdb((), f"iceberg_scan('{metadata}')") == expected
    return len(expected)


def first(lake: Lake) -> None:
    publish(lake, DAYS[:2], [row(n, day) for day in DAYS[:2] for n in range(4)])


def test_it_follows_day_by_day(lake: Lake, catalog: IcebergCatalog):
    assert catalog.follow(lake, TABLE).done == "absent"
    first(lake)
    done = catalog.follow(lake, TABLE)
    assert (done.done, done.partitions, done.rows) == ("copied", 2, 8)
    assert agree(lake, catalog) == 8
    publish(lake, DAYS[1:], [row(7, DAYS[1]), row(8, DAYS[2]), row(9, DAYS[2])])
    done = catalog.follow(lake, TABLE)
    assert (done.done, done.partitions, done.rows) == ("followed", 2, 3)
    assert agree(lake, catalog) == 7
    assert catalog.follow(lake, TABLE).done == "current"
    assert catalog.version(TABLE) == lake.version(*TABLE.split("/"))


def test_a_new_column_is_added_and_another_type_is_copied_anew(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    catalog.follow(lake, TABLE)
    publish(lake, DAYS[2:], [row(1, DAYS[2], note="new")], {"note": pa.string()})
    assert catalog.follow(lake, TABLE).done == "followed"
    assert agree(lake, catalog) == 9
    publish(lake, DAYS, [row(1, day, note=1.5) for day in DAYS], {"note": pa.float64()})
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(lake, catalog) == 3


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int32(), [1, -2, None]),
        (pa.string(), ["a b/ü=%", "", None]),
        (pa.date32(), [date(2026, 1, 1), date(1969, 1, 1), None]),
        (pa.bool_(), [True, False, None]),
        (pa.decimal128(9, 2), [Decimal("1.50"), Decimal("-2.00"), None]),
        (
            pa.timestamp("us", "UTC"),
            [datetime(2026, 1, 1, 1, 2, 3, 4, UTC), datetime(1969, 1, 1, tzinfo=UTC), None],
        ),
        (pa.float64(), [0.1, 2.5, None]),
    ],
)
def test_any_partition_of_another_writer_follows(
    lake: Lake, catalog: IcebergCatalog, kind: pa.DataType, values: list[Any]
):
    """Null partitions too, and those whose values have no one spelling."""
    rows = pa.table({"id": [1, 2, 3], "p": pa.array(values, kind)})
    for number, part in enumerate([rows, rows.slice(1), rows.slice(0, 1)]):
        write_deltalake(lake.path("gold", "foreign"), part, partition_by=["p"], mode="append")
        catalog.follow(lake, "gold/foreign")
        found, table = catalog.load("gold/foreign"), lake.table("gold", "foreign")
        assert found is not None and table is not None
        assert _counted(found.scan().to_arrow()) == _counted(table.to_pyarrow_table()), number


def _counted(rows: pa.Table) -> Counter[str]:
    return Counter(str(sorted(each.items())) for each in rows.to_pylist())


def test_a_renamed_column_and_a_renamed_table_follow(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    catalog.follow(lake, TABLE)
    for step in columns.rename(lake, TABLE, "name", "title").steps:
        step.do()
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(lake, catalog) == 8 and "title" in by_delta(lake)[0]
    with dg.DagsterInstance.ephemeral() as instance:
        for step in places.table(lake, TABLE, "gold/sales", instance).steps:
            step.do()
    behind = [each.table for each in standings(lake, "iceberg", ("gold/*",)) if not each.current]
    assert [each.done for each in sync(lake, catalog, behind) if isinstance(each, Followed)] == [
        "copied",
        "dropped",
    ]
    assert catalog.tables() == ["gold/sales"] == chosen(lake, catalog, ("gold/*",))


def test_null_lists_of_structs_stay_null(lake: Lake, catalog: IcebergCatalog):
    """pyiceberg writes them as empty lists where it is left to itself: the reader here is DuckDB."""
    inside = pa.list_(pa.struct([("c", pa.string())]))
    odd = {
        "a": inside,
        "b": pa.struct([("d", inside)]),
        "m": pa.map_(pa.string(), pa.struct([("e", pa.int64())])),
    }
    rows = [
        row(1, DAYS[0], a=None, b={"d": None}, m=None),
        row(2, DAYS[0], a=[], b={"d": [None, {"c": None}]}, m=[]),
        row(3, DAYS[0], a=[{"c": "x"}, None], b=None, m=[("k", None), ("l", {"e": 1})]),
    ]
    publish(lake, DAYS[:1], rows, odd)
    catalog.follow(lake, TABLE)
    assert agree(lake, catalog) == 3
    found = by_delta(lake)
    assert [(each["a"], each["m"]) for each in found[:2]] == [(None, None), ([], [])]


def test_an_emptied_day_is_emptied(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    catalog.follow(lake, TABLE)
    publish(lake, DAYS[:1], [])
    assert catalog.follow(lake, TABLE).rows == 0
    assert agree(lake, catalog) == 4


def test_compaction_copies_nothing_and_vacuum_takes_nothing_away(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    for number in range(6):
        publish(lake, DAYS[2:], [row(number, DAYS[2])])
    catalog.follow(lake, TABLE)
    stage, name = TABLE.split("/")
    table = lake.table(stage, name)
    assert table is not None
    write_deltalake(
        table,
        pa.Table.from_pylist([row(90, DAYS[0])], pa.schema([*COLUMNS.items(), ("ds", pa.string())])),
        mode="append",
    )
    assert catalog.follow(lake, TABLE).partitions == 1  # of somebody else's commit
    later = datetime.now(UTC) + timedelta(days=30)
    maintain(lake, [TABLE], min_files=2, now=later)
    done = catalog.follow(lake, TABLE)
    assert done.rows == 0 and done.version == lake.version(stage, name)
    assert agree(lake, catalog) == 10


def test_a_restored_table_is_what_it_was(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    version = lake.version(*TABLE.split("/"))
    publish(lake, DAYS[:1], [row(50, DAYS[0])])
    catalog.follow(lake, TABLE)
    table = lake.table(*TABLE.split("/"))
    assert table is not None
    table.restore(version)
    assert catalog.follow(lake, TABLE).partitions == 1
    assert agree(lake, catalog) == 8


def test_a_table_made_anew_is_copied_and_a_dropped_one_is_dropped(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    catalog.follow(lake, TABLE)
    _remove(lake)
    publish(lake, DAYS[:1], [row(1, DAYS[0])])
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(lake, catalog) == 1
    _remove(lake)
    assert [each.table for each in standings(lake, "iceberg", ("gold/*",)) if not each.current] == [TABLE]
    assert catalog.follow(lake, TABLE).done == "dropped"
    assert catalog.tables() == [] and standings(lake, "iceberg", ("gold/*",)) == []


def test_a_log_that_does_not_go_back_so_far_leads_to_a_copy(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    catalog.follow(lake, TABLE)
    publish(lake, DAYS[2:], [row(1, DAYS[2])])
    publish(lake, DAYS[2:], [row(2, DAYS[2])])
    table = lake.table(*TABLE.split("/"))
    assert table is not None
    table.create_checkpoint()
    for entry in Path(lake.path(*TABLE.split("/")), "_delta_log").glob("*.json"):
        if int(entry.stem) < table.version():
            entry.unlink()
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(lake, catalog) == 9


def test_a_killed_copy_is_begun_again(lake: Lake, catalog: IcebergCatalog, monkeypatch: pytest.MonkeyPatch):
    from asgard_assets.catalogs import iceberg

    first(lake)
    monkeypatch.setattr(iceberg, "_copy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        catalog.follow(lake, TABLE)  # the empty table is there, its rows are not
    monkeypatch.undo()
    assert catalog.version(TABLE) == -1
    assert catalog.follow(lake, TABLE).done == "copied"
    assert agree(lake, catalog) == 8


def test_a_receipt_that_was_never_written_comes_with_the_next_sync(lake: Lake, catalog: IcebergCatalog):
    """A process ended between the catalog's commit and the receipt: the table must not be asked for again and again."""
    receipt = f"_catalogs/iceberg/{TABLE}.json"
    first(lake)
    catalog.follow(lake, TABLE)
    before = lake.get(receipt)
    lake.delete(receipt)
    assert [each.current for each in standings(lake, "iceberg", ("gold/*",))] == [False]
    assert catalog.follow(lake, TABLE).done == "current"
    assert [each.current for each in standings(lake, "iceberg", ("gold/*",))] == [True]
    _remove(lake)
    assert catalog.follow(lake, TABLE).done == "dropped"
    lake.put(receipt, before)
    assert [each.current for each in standings(lake, "iceberg", ("gold/*",))] == [False]
    assert catalog.follow(lake, TABLE).done == "absent"
    assert standings(lake, "iceberg", ("gold/*",)) == []


def test_two_syncs_at_once_lose_and_double_nothing(lake: Lake, settings: Settings):
    from concurrent.futures import ThreadPoolExecutor

    first(lake)
    with ThreadPoolExecutor(3) as pool:
        for number in range(4):
            publish(lake, DAYS[2:], [row(number, DAYS[2]), row(number + 1, DAYS[2])])
            done = list(pool.map(lambda _: catalog_of(settings, lake).follow(lake, TABLE), range(3)))
            assert {each.version for each in done} == {lake.version(*TABLE.split("/"))}
            agree(lake, catalog_of(settings, lake))


def test_a_table_of_somebody_else_is_not_touched(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    opened = catalog.opened
    opened.create_namespace("gold")
    opened.create_table(("gold", "orders"), pa.schema([("a", pa.int64())]))
    with pytest.raises(CatalogError, match="does not come from this lake"):
        catalog.follow(lake, TABLE)
    assert catalog.tables() == []


def test_one_table_that_cannot_follow_keeps_no_other_from_it(lake: Lake, catalog: IcebergCatalog):
    first(lake)
    opened = catalog.opened
    opened.create_namespace("gold")
    opened.create_table(("gold", "a"), pa.schema([("a", pa.int64())]))
    failed, followed = sync(lake, catalog, ["gold/a", TABLE])
    assert isinstance(failed, Failed) and failed.table == "gold/a"
    assert not isinstance(followed, Failed) and followed.rows == 8
    assert receipts(lake, "iceberg")[TABLE]["version"] == followed.version
    assert "gold/a" not in receipts(lake, "iceberg")


def test_a_catalog_that_is_down_is_named(lake: Lake):
    first(lake)
    with pytest.raises(CatalogError, match="Iceberg catalog: gold/orders cannot follow"):
        catalog_of(Settings(iceberg="http://127.0.0.1:1/iceberg"), lake).follow(lake, TABLE)


def test_tables_are_chosen_by_patterns(lake: Lake):
    first(lake)
    assert wanted(lake, ("gold/*",)) == [TABLE] == wanted(lake, ("*/orders",))
    assert wanted(lake, ("silver/*",)) == []


@pytest.mark.parametrize("address", ["", "nessie:19120", "ftp://a"])
def test_an_address_that_is_none_is_refused(lake: Lake, address: str):
    with pytest.raises(ConfigError, match="ASGARD_ICEBERG"):
        catalog_of(Settings(iceberg=address), lake)


def test_secrets_of_its_options_are_references(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CATALOG_TOKEN", "token-of-the-catalog")
    given = Settings(iceberg="http://127.0.0.1:1", iceberg_options={"token": "env:CATALOG_TOKEN"})
    assert "token-of-the-catalog" not in json.dumps(given.model_dump(mode="json"))
    assert catalog_of(given, lake).properties["token"] == "token-of-the-catalog"


def _remove(lake: Lake) -> None:
    import shutil

    shutil.rmtree(lake.path(*TABLE.split("/")))
