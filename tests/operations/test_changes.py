"""Changes of tables that have rows: said first, then made, and made again without harm."""

from __future__ import annotations

import gzip
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from asgard_assets.errors import ConfigError, ConflictError, FencedError, LakeError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import Edge, Reads
from asgard_assets.operations.changes import columns, places
from asgard_assets.operations.changes.backup import backup, restore_all
from asgard_assets.operations.changes.databases import State
from asgard_assets.operations.changes.migration import Migration
from tests.servers.s3 import s3

DAYS = ["2026-10-05", "2026-10-06"]
SCHEMA = pa.schema([("id", pa.int64()), ("amount", pa.int64()), ("at", pa.int64()), ("ds", pa.string())])
ROWS = [(1, 5, 1, DAYS[0]), (1, 6, 2, DAYS[0]), (2, 7, 1, DAYS[1])]


def put(lake: Lake, address: str = "silver/t", days: list[str] = DAYS, **plans: int) -> int:
    staging = lake.stage(*address.split("/"), SCHEMA, days)
    chosen = [row for row in ROWS if row[3] in days]
    lake.write(staging, pa.table(list(zip(*chosen, strict=True)), schema=SCHEMA))
    return lake.publish(staging, plans={key.replace("__", "/"): n for key, n in plans.items()}).version


def rows(lake: Lake, address: str = "silver/t") -> list[dict[str, object]]:
    with lake.connect(tables=[address]) as connection:
        found = connection.execute(f"select * from {address.replace('/', '.')} order by all").to_arrow_table()
        return found.to_pylist()


def carried_out(migration: Migration) -> list[str]:
    return list(migration.carry_out())


def stale(lake: Lake, before: dict[str, int], address: str = "silver/t") -> set[str]:
    """Days whose readers are stale by a change of the numbers."""
    edges = [Edge(address)]
    now = Reads.open(lake, edges).hashes("gold/x", Reads.open(lake, edges).stands[address], DAYS)
    return {day for day in DAYS if now[day] != before[day]}


def hashes(lake: Lake, address: str = "silver/t") -> dict[str, int]:
    reads = Reads.open(lake, [Edge(address)])
    return reads.hashes("gold/x", reads.stands[address], DAYS)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lake: columns.retype(lake, "silver.t", "amount", "double"), {"amount": 5.0}),
        (lambda lake: columns.retype(lake, "silver/t", "amount", "string"), {"amount": "5"}),
        (lambda lake: columns.rename(lake, "silver/t", "amount", "price"), {"price": 5}),
        (lambda lake: columns.drop(lake, "silver/t", "amount"), {}),
    ],
)
def test_a_column_changes_in_every_partition_and_readers_are_stale(lake: Lake, change, expected) -> None:
    first = put(lake)
    before, staging = hashes(lake), lake.stage("silver", "t", SCHEMA, DAYS[:1])
    plan = change(lake)
    assert len(plan.steps) == 1 and "2 files" in plan.steps[0].what and rows(lake)[0]["amount"] == 5, (
        "said only"
    )
    carried_out(plan)
    assert rows(lake)[0] == {"id": 1, **expected, "at": 1, "ds": DAYS[0]} and len(rows(lake)) == 3
    assert stale(lake, before) == set(DAYS)
    assert change(lake).steps == (), "it is so already"
    lake.write(staging, pa.table([[9], [9], [9], [DAYS[0]]], schema=SCHEMA))
    with pytest.raises(FencedError):
        lake.publish(staging)
    assert lake.at("silver", "t", first).to_pyarrow_table()["amount"].to_pylist() == [5, 6, 7]


def test_what_cannot_be_is_refused_and_changes_nothing(lake: Lake) -> None:
    version = put(lake)
    staging = lake.stage("silver", "words", pa.schema([("word", pa.string())]))
    lake.write(staging, pa.table({"word": ["1", "x1"]}))
    lake.publish(staging)
    with pytest.raises(LakeError, match="a value of word is no bigint .*'x1'"):
        columns.retype(lake, "silver/words", "word", "bigint")
    for wrong, error, words in (
        (lambda: columns.retype(lake, "silver/t", "ds", "date"), ConfigError, "names the partition"),
        (lambda: columns.retype(lake, "silver/t", "amount", "whole"), ConfigError, "'whole' is no type"),
        (lambda: columns.rename(lake, "silver/t", "amount", "id"), ConfigError, "has a column id already"),
        (lambda: columns.drop(lake, "silver/words", "word"), ConfigError, "remove the table instead"),
        (
            lambda: columns.drop(lake, "gold/t", "amount"),
            NotFoundError,
            "no table gold/t; there are silver/t",
        ),
        (lambda: columns.rename(lake, "silver/t", "sum", "price"), ConfigError, "it has id, amount, at, ds"),
        (lambda: columns.key(lake, "silver/t", ["id"]), LakeError, "1 rows in 1 partitions .* --newest"),
    ):
        with pytest.raises(error, match=words):
            wrong()
    assert lake.version("silver", "t") == version


def test_an_unpartitioned_table_changes_too(lake: Lake) -> None:
    staging = lake.stage("gold", "all", pa.schema([("id", pa.int64()), ("n", pa.int64())]))
    lake.write(staging, pa.table({"id": [1, 1, 2], "n": [1, 2, 3]}))
    lake.publish(staging)
    carried_out(columns.retype(lake, "gold/all", "n", "double"))
    carried_out(columns.key(lake, "gold/all", ["id"], newest="n"))
    assert rows(lake, "gold/all") == [{"id": 1, "n": 2.0}, {"id": 2, "n": 3.0}]


def test_a_key_keeps_the_newest_row_and_leaves_other_partitions_alone(lake: Lake) -> None:
    put(lake)
    before, plan = hashes(lake), columns.key(lake, "silver/t", ["id"], newest="at")
    assert [step.what for step in plan.steps] == [f"{DAYS[0]}: 1 rows go"]
    carried_out(plan)
    assert [(r["id"], r["amount"]) for r in rows(lake)] == [(1, 6), (2, 7)]
    assert stale(lake, before) == {DAYS[0]}
    assert columns.key(lake, "silver/t", ["id"]).steps == ()


def test_a_table_gets_another_name_with_its_versions_and_its_history(lake: Lake) -> None:
    first = put(lake)
    put(lake, days=DAYS[1:])
    put(lake, "rejected/t")
    numbers = lake.snapshot("silver", "t").numbers
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["silver", "t"], partition=DAYS[0]))
        plan = places.table(lake, "silver/t", "silver/u", instance)
        assert lake.table("silver", "u") is None
        carried_out(plan)
        assert instance.get_materialized_partitions(dg.AssetKey(["silver", "u"])) == set(DAYS)
        assert not instance.has_asset_key(dg.AssetKey(["silver", "t"]))
        assert places.table(lake, "silver/t", "silver/u", instance).steps == ()
        put(lake, "gold/v")
        with pytest.raises(ConflictError, match="there is a table gold/v already"):
            places.table(lake, "silver/u", "gold/v", instance)
        with pytest.raises(ConfigError, match="asgard migrate source"):
            places.table(lake, "bronze/a", "bronze/b", instance)
    assert lake.table("silver", "t") is None and len(rows(lake, "silver/u")) == 3
    assert lake.table("rejected", "t") is None and lake.table("rejected", "u") is not None
    assert lake.snapshot("silver", "u").numbers == numbers
    assert lake.at("silver", "u", first).to_pyarrow_table().num_rows == 3
    put(lake, "silver/u")


def test_a_source_gets_another_name_and_what_it_loaded_stays_loaded(lake: Lake) -> None:
    put(lake, "bronze/old", old__2026=3)
    put(lake, "quarantine/old")
    for place in (
        "_plans/old/00000001.jsonl.gz",
        "_manifest/old/base.json",
        "_control/old.json",
        "_plans/older/1",
    ):
        lake.put(place, b"x")
    with dg.DagsterInstance.ephemeral() as instance:
        carried_out(places.source(lake, "old", "new", instance))
        assert instance.get_materialized_partitions(dg.AssetKey(["bronze", "new"])) == set(DAYS)
        numbers = lake.snapshot("bronze", "new").numbers
        assert numbers["new/2026"] == 3 and numbers["asgard/2026-10-05"] == 1
        assert lake.get("_plans/new/00000001.jsonl.gz") == lake.get("_control/new.json") == b"x"
        assert lake.names("_plans/old") == [] and lake.names("_plans/older") == ["1"]
        assert lake.table("bronze", "old") is lake.table("quarantine", "old") is None
        assert places.source(lake, "old", "new", instance).steps == ()
        with pytest.raises(NotFoundError, match="nothing in the lake belongs to a source old"):
            places.source(lake, "old", "newer", instance)
        lake.put("_plans/newer/1", b"of another one")
        with pytest.raises(ConflictError, match="_plans/newer is there already"):
            places.source(lake, "new", "newer", instance)
        with pytest.raises(ConfigError, match="cannot be named asgard"):
            places.source(lake, "new", "asgard", instance)


def test_the_lake_moves_while_it_is_written_and_nothing_refers_to_the_old_place(
    lake: Lake, tmp_path: Path
) -> None:
    put(lake)
    lake.put("_control/t.json", b"1")
    packed = gzip.compress(b"{}")
    lake.put("_plans/t/1.jsonl.gz", packed)
    to = Lake(str(tmp_path / "there"))
    carried_out(places.root(lake, to))
    put(lake, days=DAYS[1:])
    lake.put("_control/t.json", b"2")
    carried_out(places.root(lake, to))
    assert (
        rows(to) == rows(lake) and to.snapshot("silver", "t").numbers == lake.snapshot("silver", "t").numbers
    )
    assert to.get("_control/t.json") == b"2" and to.get("_plans/t/1.jsonl.gz") == packed
    Path(lake.root).rename(tmp_path / "gone")
    put(to)
    assert len(rows(to)) == 3
    with pytest.raises(ConfigError, match="lies in the lake"):
        places.root(to, Lake(f"{to.root}/in"))


def test_an_asset_is_removed_with_all_that_belongs_to_it(lake: Lake) -> None:
    put(lake, "bronze/gone", gone__2026=3, shared__2026=1)
    put(lake, "bronze/stays", shared__2026=1)
    for address in (
        "quarantine/gone",
        "receipts/bronze.gone",
        "_logins/gone",
        "silver/gone",
        "rejected/gone",
    ):
        put(lake, address)
    state = [
        "_plans/gone/1",
        "_manifest/gone/base.json",
        "_control/gone.json",
        "_schemas/gone/1.json",
        "_schemas/bronze/gone.json",
    ]
    for place in [*state, "_plans/shared/1", "_plans/stays/1"]:
        lake.put(place, b"x")
    with dg.DagsterInstance.ephemeral() as instance:
        key = dg.AssetKey(["bronze", "gone"])
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=DAYS[0]))
        with pytest.raises(ConflictError, match="is in the project"):
            places.asset(lake, "bronze/gone", instance, ["bronze/gone"], list)
        plan = places.asset(lake, "bronze/gone", instance, ["bronze/stays"], list)
        assert len(rows(lake, "bronze/gone")) == 3, "said only"
        carried_out(plan)
        assert not instance.has_asset_key(key)
        carried_out(places.asset(lake, "silver/gone", instance, [], list))
        with pytest.raises(NotFoundError):
            places.asset(lake, "bronze/gone", instance, [], list)
        forgotten = list[str]()
        carried_out(places.asset(lake, "features/gone", instance, [], lambda: forgotten.append("online")))
        assert forgotten == ["online"]
    left = {f"{s}/{n}" for s, n in lake.tables(internal=True) if "_delta_log" not in n}
    assert left == {"bronze/stays"} and lake.names("_plans/shared") == lake.names("_plans/stays") == ["1"]
    found = [str(path) for path in Path(lake.root).rglob("*gone*")]
    assert found == []


def test_readers_at_work_see_one_version_or_the_other(lake: Lake) -> None:
    put(lake)
    reader = DeltaTable(lake.path("silver", "t"))
    carried_out(columns.rename(lake, "silver/t", "amount", "price"))
    assert reader.to_pyarrow_table()["amount"].to_pylist() == [5, 6, 7], (
        "its files are there until the retention is over"
    )


@pytest.mark.servers
def test_tables_on_s3_change_their_place_and_columns_and_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(tmp_path / "s3", "lake") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        there = Lake("s3://lake/a", server.endpoint)
        put(there)
        carried_out(columns.rename(there, "silver/t", "amount", "price"))
        with dg.DagsterInstance.ephemeral() as instance:
            carried_out(places.table(there, "silver/t", "gold/u", instance))
        assert there.table("silver", "t") is None and [r["price"] for r in rows(there, "gold/u")] == [5, 6, 7]
        state = State({}, {}, ())
        saved = backup(there, "s3://lake/backups", state)
        other = Lake("s3://lake/b", server.endpoint)
        carried_out(places.root(there, other))
        assert rows(other, "gold/u") == rows(there, "gold/u")
        with dg.DagsterInstance.ephemeral() as instance:
            carried_out(places.asset(there, "gold/u", instance, [], list))
        assert there.tables() == []
        restore_all(there, "s3://lake/backups", state, saved.name)
        assert rows(there, "gold/u") == rows(other, "gold/u")
