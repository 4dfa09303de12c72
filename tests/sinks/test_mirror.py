"""Tables of the lake in a real Postgres: changes, deletes, columns, types, kills; and equal to the lake in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import traceback
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pyarrow as pa
import pytest

from asgard_assets.components.sinks import PostgresTable, mirror_asset
from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.sinks.events import PostgresAway, connected
from asgard_assets.sinks.mirror import MirrorSink, mirror
from asgard_assets.sinks.types import Target, widened
from deployments.local.streaming.postgres import Postgres
from tests.checkout import ROOT
from tests.ingest.stream.test_streams import asked
from tests.patience import patience

DAYS = ("2026-10-05", "2026-10-06", "2026-10-07")
SCHEMA = pa.schema(
    [("id", pa.int64()), ("name", pa.string()), ("amount", pa.decimal128(12, 2)), ("ds", pa.string())]
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def sink() -> MirrorSink:
    target = f"shop.t{uuid.uuid4().hex[:8]}"
    return MirrorSink(name="orders", table="silver/orders", url="env:X", target=target, key=("id",))


def put(lake: Lake, days: Mapping[str, Sequence[Mapping[str, Any]]], schema: pa.Schema = SCHEMA) -> None:
    """Publish these days of silver/orders."""
    staging = lake.stage("silver", "orders", schema, list(days), lake.epochs("silver", "orders", list(days)))
    rows = [{**row, "ds": day} for day, found in days.items() for row in found]
    lake.write(staging, pa.Table.from_pylist(rows, schema=schema))
    lake.publish(staging)


def order(number: int, amount: int = 1) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "amount": Decimal(amount)}


def both(lake: Lake, sink: MirrorSink, database: Postgres) -> tuple[list[Any], list[Any]]:
    """The rows of the lake and of Postgres."""
    query = "select id, name, amount, ds from {} order by ds, id"
    with lake.connect() as connection:
        return connection.sql(query.format("silver.orders")).fetchall(), asked(
            database, query.format(sink.target)
        )


@pytest.mark.servers
def test_only_what_changed_is_written_and_what_is_gone_is_deleted(
    lake: Lake, sink: MirrorSink, database: Postgres
):
    put(lake, {DAYS[0]: [order(1), order(2)], DAYS[1]: [order(1), order(3)]})
    first = mirror(lake, sink, database.url)
    assert (first.partitions, first.upserted, first.deleted) == ([DAYS[0], DAYS[1]], 4, 0)
    assert mirror(lake, sink, database.url).partitions == []
    put(lake, {DAYS[1]: [order(1, 9), order(4)]})
    second = mirror(lake, sink, database.url)
    assert (second.partitions, second.upserted, second.deleted) == ([DAYS[1]], 2, 1)
    put(lake, {DAYS[1]: [order(1, 9), order(4)]})  # the same rows once more
    assert mirror(lake, sink, database.url).upserted == 0
    mine, theirs = both(lake, sink, database)
    assert mine == theirs and len(mine) == 4


@pytest.mark.servers
def test_random_changes_end_as_the_lake_is(lake: Lake, sink: MirrorSink, database: Postgres):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(8):
        days = chance.sample(DAYS, chance.randint(1, 3))
        put(lake, {day: [order(n, chance.randint(1, 3)) for n in sorted(chance.sample(range(30), chance.randint(1, 20)))] for day in days})  # fmt: skip
        if chance.random() < 0.6:
            mirror(lake, sink, database.url)
    mirror(lake, sink, database.url)
    mine, theirs = both(lake, sink, database)
    assert mine == theirs


@pytest.mark.servers
def test_a_table_that_was_made_anew_leaves_nothing_of_the_old_one(
    lake: Lake, sink: MirrorSink, database: Postgres, tmp_path: Path
):
    put(lake, {DAYS[0]: [order(1)], DAYS[1]: [order(2)]})
    mirror(lake, sink, database.url)
    other = Lake(str(tmp_path / "other"))
    put(other, {DAYS[1]: [order(7)]})
    told = mirror(other, sink, database.url)
    assert told.deleted == 2
    mine, theirs = both(other, sink, database)
    assert mine == theirs


@pytest.mark.servers
def test_a_killed_mirror_has_whole_partitions_and_the_next_one_ends_it(
    lake: Lake, sink: MirrorSink, database: Postgres
):
    put(lake, {day: [order(n) for n in range(50)] for day in DAYS})
    command = [sys.executable, "-m", "tests.sinks.mirror_killed", lake.root, sink.target, DAYS[1]]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "SRC_POSTGRES": database.url}, timeout=patience(60), check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert asked(database, f"select ds, count(*) from {sink.target} group by 1") == [(DAYS[0], 50)]
    assert mirror(lake, sink, database.url).partitions == [DAYS[1], DAYS[2]]
    mine, theirs = both(lake, sink, database)
    assert mine == theirs


@pytest.mark.servers
def test_a_postgres_that_is_killed_has_whole_partitions(lake: Lake, sink: MirrorSink, database: Postgres):
    put(lake, {day: [order(n) for n in range(50)] for day in DAYS})

    def end(partition: str) -> None:
        if partition == DAYS[1]:
            database.kill()

    with pytest.raises(PostgresAway, match="what was committed stays"):
        mirror(lake, sink, database.url, before_commit=end)
    database.start()
    assert asked(database, f"select ds, count(*) from {sink.target} group by 1") == [(DAYS[0], 50)]
    assert mirror(lake, sink, database.url).partitions == [DAYS[1], DAYS[2]]
    mine, theirs = both(lake, sink, database)
    assert mine == theirs


@pytest.mark.servers
def test_new_and_wider_columns_follow_and_narrower_ones_are_an_error(
    lake: Lake, sink: MirrorSink, database: Postgres
):
    put(lake, {DAYS[0]: [order(1)]})
    mirror(lake, sink, database.url)
    wide = pa.schema([*list(SCHEMA)[:3], ("note", pa.string()), SCHEMA.field("ds")])
    put(lake, {DAYS[1]: [{**order(2), "note": "new"}]}, wide)
    told = mirror(lake, sink, database.url)
    assert told.columns == ["note"]
    assert asked(database, f"select id, note from {sink.target} order by id") == [(1, None), (2, "new")]
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"alter table {sink.target} drop column amount; alter table {sink.target} add column amount date"
        )
    put(lake, {DAYS[2]: [{**order(3), "note": "x"}]}, wide)
    with pytest.raises(ConfigError, match="amount is date in Postgres, and numeric"):
        mirror(lake, sink, database.url)
    assert asked(database, f"select count(*) from {sink.target}") == [(2,)]


@pytest.mark.servers
def test_every_type_arrives_as_it_is(lake: Lake, sink: MirrorSink, database: Postgres):
    moment = datetime(2026, 10, 5, 12, 30, 1, 250_000, UTC)
    row = {
        "id": 1, "small": 3, "ratio": 0.1, "text": "a\tb\\c\n\0'", "flag": True, "day": date(2026, 10, 5), "at": moment,
        "raw": b"\x00\xff\\", "inner": {"a": [1, 2], "b": None}, "ds": DAYS[0],
    }  # fmt: skip
    schema = pa.schema([
        ("id", pa.int64()), ("small", pa.int16()), ("ratio", pa.float64()), ("text", pa.string()), ("flag", pa.bool_()),
        ("day", pa.date32()), ("at", pa.timestamp("us", "UTC")), ("raw", pa.binary()),
        ("inner", pa.struct([("a", pa.list_(pa.int64())), ("b", pa.string())])), ("ds", pa.string()),
    ])  # fmt: skip
    put(lake, {DAYS[0]: [row, {"id": 2}]}, schema)
    mirror(lake, sink, database.url)
    [found, empty] = asked(
        database,
        f"select small, ratio, text, flag, day, at, raw, inner_, ds from (select *, inner as inner_ from {sink.target}) t order by id".replace(
            "inner as", '"inner" as'
        ),
    )
    assert found[:6] == (3, 0.1, "a\tb\\c\n\ufffd'", True, date(2026, 10, 5), moment)
    assert bytes(found[6]) == b"\x00\xff\\" and found[7] == {"a": [1, 2], "b": None}
    assert empty[:8] == (None,) * 8


@pytest.mark.servers
def test_of_a_table_that_has_everything_each_day_the_newest_day_counts(
    lake: Lake, sink: MirrorSink, database: Postgres
):
    newest = sink.model_copy(update={"partitions": "newest"})
    put(lake, {DAYS[0]: [order(1), order(2)], DAYS[1]: [order(2, 5), order(3)]})
    mirror(lake, newest, database.url)
    assert asked(database, f"select id, ds from {sink.target} order by id") == [(2, DAYS[1]), (3, DAYS[1])]
    put(lake, {DAYS[2]: [order(3), order(4)]})
    told = mirror(lake, newest, database.url)
    assert asked(database, f"select id, ds from {sink.target} order by id") == [(3, DAYS[2]), (4, DAYS[2])]
    assert told.deleted == 1 or told.deleted == 2
    put(lake, {DAYS[0]: [order(9)]})
    assert mirror(lake, newest, database.url).partitions == []


@pytest.mark.servers
def test_it_is_an_asset_behind_its_table(lake: Lake, sink: MirrorSink, database: Postgres, monkeypatch):
    monkeypatch.setenv("SHOP_DB", database.url)
    put(lake, {DAYS[0]: [order(1)]})
    asset = mirror_asset(sink.model_copy(update={"url": "env:SHOP_DB"}))
    assert asset.asset_deps[dg.AssetKey(["postgres", "orders"])] == {dg.AssetKey(["silver", "orders"])}
    assert PostgresTable.get_model_cls() is MirrorSink
    done = dg.materialize([asset], resources={"lake": LakeResource(root=lake.root)})
    [event] = done.get_asset_materialization_events()
    assert event.materialization.metadata["upserted"].value == 1


def test_an_update_that_comes_while_a_run_ends_is_asked_for_too(sink: MirrorSink):
    @dg.asset(key=["silver", "orders"], partitions_def=dg.StaticPartitionsDefinition(list(DAYS)))
    def orders() -> None: ...

    definitions = dg.Definitions(
        [orders, mirror_asset(sink)], resources={"lake": dg.ResourceDefinition.none_resource()}
    )
    with dg.DagsterInstance.ephemeral() as instance:

        def made(*keys: str) -> None:
            for key in keys:
                day = DAYS[0] if key.startswith("silver") else None
                instance.report_runless_asset_event(dg.AssetMaterialization(key.split("/"), partition=day))

        asked_for, cursor = [], None
        for news in ((), ("silver/orders",), (), ("postgres/orders", "silver/orders"), ("postgres/orders",)):
            made(*news)
            tick = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            cursor = tick.cursor
            asked_for.append(tick.total_requested)
    assert asked_for == [0, 1, 0, 1, 0]


def test_what_is_missing_or_away_is_said(lake: Lake, sink: MirrorSink):
    with pytest.raises(LakeError, match="there is no table silver/orders yet"):
        mirror(lake, sink, "postgresql://nobody@127.0.0.1:1/x")
    put(lake, {DAYS[0]: [order(1)]})
    with pytest.raises(PostgresAway, match="Check the address behind env:X"):
        mirror(lake, sink, "postgresql://nobody@127.0.0.1:1/x")


@pytest.mark.parametrize(
    ("there", "wanted", "changes"),
    [
        ("integer", "BIGINT", 1), ("bigint", "INTEGER", 0), ("numeric(10,2)", "DECIMAL(12,2)", 1),
        ("numeric(12,2)", "DECIMAL(10,2)", 0), ("bigint", "DECIMAL(22,2)", 1), ("real", "DOUBLE", 1), ("text", "DATE", 0),
        ("integer", "VARCHAR", 1), ("date", "BOOLEAN", -1), ("numeric(10,2)", "DECIMAL(10,4)", -1),
    ],
)  # fmt: skip
def test_a_column_becomes_wider_and_never_loses(there: str, wanted: str, changes: int):
    target = Target("shop.t", {"c": wanted}, ["c"])
    if changes < 0:
        with pytest.raises(ConfigError, match="in Postgres, and"):
            list(widened(target, {"c": there}, "s"))
    else:
        assert len(list(widened(target, {"c": there}, "s"))) == changes


def test_json_and_control_characters_are_copied_whole():
    from asgard_assets.sinks.copying import line

    assert line([None, True, {"a": "\0"}, "x\ty"]) == '\\N\tt\t{"a": "\\\\ufffd"}\tx\\ty\n'
    assert json.loads('{"a": "\\ufffd"}') == {"a": "\ufffd"}


@pytest.mark.servers
def test_a_table_may_be_called_by_a_word_of_sql(lake: Lake, sink: MirrorSink, database: Postgres):
    named = sink.model_copy(update={"target": "user.order"})
    put(lake, {DAYS[0]: [order(1), order(2)]})
    try:
        mirror(lake, named, database.url)
        wider = SCHEMA.append(pa.field("more", pa.string()))
        put(lake, {DAYS[0]: [order(1)]}, wider)
        told = mirror(lake, named, database.url)
        assert (told.columns, told.deleted) == (["more"], 1)
        assert asked(database, 'select id from "user"."order"') == [(1,)]
    finally:
        asked(database, 'drop schema if exists "user" cascade; select 1')


@pytest.mark.parametrize(
    "address",
    [
        "postgres//ann:hunter22@h/db",
        "postgresql://ann:hunter22@h/db?bogus=1",
        "postgresql://ann:hunter22%zz@h/db",
        "postgresql://ann:hunter22/x@h/db",
        "postgresql://ann:hunt@er22@h/db",
    ],
)
def test_an_address_that_is_none_is_not_shown(address: str):
    with pytest.raises(ConfigError) as caught, connected(address, "shop", "env:SHOP"):
        pass
    shown = "".join(traceback.format_exception(caught.value))
    assert "env:SHOP" in shown and "er22" not in shown
