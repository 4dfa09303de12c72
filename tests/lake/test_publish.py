"""The one write primitive: staged, audited, published, fenced."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from asgard_assets.errors import FencedError, LakeError
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import audit
from asgard_assets.quality.tables import Check, TableSpec

SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("ds", pa.string())])
DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]
SPEC = TableSpec(
    stage="silver",
    name="orders",
    description="Orders.",
    key=("id",),
    checks=(
        Check(name="id_is_positive", sql="id > 0"),
        Check(name="is_small", sql="count(*) < 3", aggregate=True, severity="warn"),
    ),
)


def rows(**days: list[int]) -> pa.Table:
    ids = [(i, day) for day, values in days.items() for i in values]
    names = {f"d{n}": day for n, day in enumerate(DAYS)}
    return pa.table(
        {
            "id": [i for i, _ in ids],
            "at": [1_790_000_000_000_000] * len(ids),
            "ds": [names[d] for _, d in ids],
        }
    ).cast(SCHEMA)


def put(lake: Lake, table: pa.Table, days: list[str] = DAYS):
    staging = lake.stage("silver", "orders", table.schema, days)
    lake.write(staging, table)
    return staging


def read(lake: Lake) -> list[tuple[int, str]]:
    with lake.connect() as connection:
        return connection.sql("select id, ds from silver.orders order by all").fetchall()


def test_a_range_of_days_is_one_commit_and_replaces_only_itself(lake: Lake):
    first = lake.publish(put(lake, rows(d0=[1, 2], d1=[3])))
    again = lake.publish(put(lake, rows(d1=[4]), DAYS[1:2]))
    assert (first.version, again.version) == (1, 2)
    assert first.rows == {DAYS[0]: 2, DAYS[1]: 1, DAYS[2]: 0}
    assert read(lake) == [(1, DAYS[0]), (2, DAYS[0]), (4, DAYS[1])]


def test_staged_rows_are_invisible_to_another_process(lake: Lake):
    lake.publish(put(lake, rows(d0=[1])))
    put(lake, rows(d0=[7, 8]))
    code = "import sys, deltalake; t = deltalake.DeltaTable(sys.argv[1]); print(t.version(), t.get_add_actions().num_rows)"
    seen = subprocess.run(
        [sys.executable, "-c", code, lake.path("silver", "orders")], capture_output=True, text=True
    )
    assert seen.stdout.split() == ["1", "1"], seen.stderr


def test_a_stalled_writer_cannot_overwrite_its_successor(lake: Lake):
    stalled = put(lake, rows(d0=[1]), DAYS[:1])
    lake.publish(put(lake, rows(d0=[2]), DAYS[:1]))
    with pytest.raises(FencedError, match="another run published 2026-10-05"):
        lake.publish(stalled)
    assert read(lake) == [(2, DAYS[0])]


def test_a_writer_stopped_between_its_last_check_and_its_commit_changes_nothing(lake: Lake, monkeypatch):
    lake.publish(put(lake, rows(d0=[1])))
    stalled, successor = put(lake, rows(d0=[2])), put(lake, rows(d0=[3]))
    commit = DeltaTable.create_write_transaction

    def successor_first(self, *arguments, **options):
        monkeypatch.undo()
        lake.publish(successor)
        commit(self, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", successor_first)
    with pytest.raises(FencedError):
        lake.publish(stalled)
    assert read(lake) == [(3, DAYS[0])]


def test_writers_of_different_days_do_not_disturb_each_other(lake: Lake):
    one, two = put(lake, rows(d0=[1]), DAYS[:1]), put(lake, rows(d1=[2]), DAYS[1:2])
    lake.publish(two)
    lake.publish(one)
    assert read(lake) == [(1, DAYS[0]), (2, DAYS[1])]


def test_a_retyped_table_keeps_each_file_in_the_folder_of_its_day(lake: Lake):
    lake.publish(put(lake, rows(d0=[1, 2], d1=[3])))

    def widened(schema: pa.Schema) -> pa.Schema:
        return pa.schema([pa.field("id", pa.float64()) if f.name == "id" else f for f in schema])

    def cast(found: pa.Table, schema: pa.Schema) -> pa.Table:
        inner = pa.schema([f for f in schema if f.name in found.column_names])
        return found.select(inner.names).cast(inner)

    lake.retype("silver", "orders", widened, cast)
    live = lake.live("silver", "orders")
    assert sorted(part.day for part in live) == DAYS[:2]
    assert all(f"/ds={part.day}/" in part.uri for part in live)
    assert read(lake) == [(1.0, DAYS[0]), (2.0, DAYS[0]), (3.0, DAYS[1])]


def test_a_new_column_joins_the_table_and_a_retyped_one_is_refused(lake: Lake):
    lake.publish(put(lake, rows(d0=[1])))
    wider = rows(d1=[2]).append_column("note", pa.array(["x"]))
    lake.publish(put(lake, wider, DAYS[1:2]))
    with lake.connect() as connection:
        assert connection.sql("select id, note from silver.orders order by id").fetchall() == [
            (1, None),
            (2, "x"),
        ]
    retyped = rows(d2=[3]).set_column(0, "id", pa.array(["3"]))
    with pytest.raises(LakeError, match="column id is int64 in the table and string"):
        lake.publish(put(lake, retyped, DAYS[2:]))


def test_an_empty_day_is_published_as_empty(lake: Lake):
    lake.publish(put(lake, rows()))
    assert read(lake) == []
    assert lake.epochs("silver", "orders", DAYS) == dict.fromkeys(DAYS, 1)


def test_an_unpartitioned_table_is_replaced_as_a_whole(lake: Lake):
    schema = pa.schema([("id", pa.int64())])
    for ids in ([1, 2], [3]):
        staging = lake.stage("gold", "labels", schema)
        lake.write(staging, pa.table({"id": ids}))
        lake.publish(staging)
    with lake.connect() as connection:
        assert connection.sql("select id from gold.labels").fetchall() == [(3,)]


def test_file_statistics_let_readers_skip_files_and_never_hide_a_row(lake: Lake):
    lake.publish(put(lake, rows(d0=[1, 5], d1=[9])))
    with lake.connect() as connection:
        assert connection.sql("select count(*) from silver.orders where id >= 5").fetchone() == (2,)
        assert connection.sql(
            'select count(*) from silver.orders where "at" > ' + "timestamptz '2026-09-21 00:00:00+00'"
        ).fetchone() == (3,)


def test_the_audit_names_each_bad_day_and_leaves_warnings_to_be_published(lake: Lake):
    found = audit(lake, put(lake, rows(d0=[1, 1], d1=[-4, 2, 3], d2=[6, 7, 8])), SPEC)
    assert found.bad_days == {DAYS[0]: ["key_is_unique"], DAYS[1]: ["id_is_positive"]}
    assert found.rows == {DAYS[0]: 2, DAYS[1]: 3, DAYS[2]: 3}
    assert found.failing(SPEC.checks[1]) == {DAYS[1]: 1, DAYS[2]: 1}


def test_an_aggregate_check_is_asked_of_an_empty_day_too(lake: Lake):
    some = Check(name="has_rows", sql="count(*) > 0", aggregate=True)
    mean = Check(name="mean_is_small", sql="avg(id) < 3", aggregate=True)  # of nothing: says nothing
    spec = SPEC.model_copy(update={"checks": (some, mean)})
    assert audit(lake, put(lake, rows(d0=[1])), spec).bad_days == {
        DAYS[1]: ["has_rows"],
        DAYS[2]: ["has_rows"],
    }
    assert audit(lake, put(lake, rows()), spec).bad_days == dict.fromkeys(DAYS, ["has_rows"])


def test_one_day_is_audited_like_one_of_many(lake: Lake):
    mean = Check(name="mean_is_small", sql="avg(id) < 3", aggregate=True)
    spec = SPEC.model_copy(update={"checks": (*SPEC.checks, mean)})
    one = audit(lake, put(lake, rows(d0=[1, 1, -4]), DAYS[:1]), spec)
    assert one.rows == {DAYS[0]: 3} and one.bad_days == {DAYS[0]: ["key_is_unique", "id_is_positive"]}
    empty = audit(lake, put(lake, rows(), DAYS[:1]), spec)
    assert empty.rows == {DAYS[0]: 0} and empty.bad_days == {}


def test_a_column_with_a_quote_in_its_name_is_audited_and_read(lake: Lake):
    odd = pa.table({"id": [1], 'a"b': ["x"], "ds": DAYS[:1]})
    lake.publish(put(lake, odd, DAYS[:1]))
    staging = lake.stage("silver", "orders", odd.schema, DAYS[1:2])
    lake.write(replace(staging, schema=SCHEMA), rows(d1=[2]))  # its file lacks the column
    assert audit(lake, staging, SPEC).bad_days == {}
    lake.publish(staging)
    assert read(lake) == [(1, DAYS[0]), (2, DAYS[1])]


@pytest.mark.parametrize("day", ["2031-01-01", None])
def test_rows_of_a_day_that_is_not_staged_are_refused_and_never_lost(lake: Lake, day: str | None):
    staging = lake.stage("silver", "orders", SCHEMA, DAYS[:1])
    stray = pa.table({"id": [1, 2], "at": [None, None], "ds": [DAYS[0], day]}).cast(SCHEMA)
    with pytest.raises(LakeError, match="1 row"):
        lake.write(staging, stray)


def test_a_day_named_twice_counts_once(lake: Lake):
    lake.publish(put(lake, rows(d0=[1]), [DAYS[0], DAYS[0]]))
    lake.publish(put(lake, rows(d0=[1]), DAYS[:1]), [DAYS[0], DAYS[0]])
    assert read(lake) == [(1, DAYS[0])]


@pytest.mark.parametrize("day", ["../../outside", "2026-10-05' or 'a'='a", "2026-13-01", ""])
def test_only_a_calendar_day_can_be_staged(lake: Lake, day: str):
    with pytest.raises(LakeError, match="invalid date"):
        lake.stage("silver", "orders", SCHEMA, [day])


def test_a_writer_that_claimed_before_it_read_cannot_overwrite_its_successor(lake: Lake):
    claim = lake.epochs("silver", "orders", DAYS[:1])
    # It reads its inputs now; another run reads newer ones and publishes, and only then this one stages.
    lake.publish(put(lake, rows(d0=[2]), DAYS[:1]))
    staging = lake.stage("silver", "orders", SCHEMA, DAYS[:1], claim)
    lake.write(staging, rows(d0=[1]))
    with pytest.raises(FencedError):
        lake.publish(staging)
    assert read(lake) == [(2, DAYS[0])]


def test_a_lake_may_lie_in_a_folder_with_odd_characters(tmp_path):
    lake = Lake(str(tmp_path / "o'brien [1] env=x"))
    staging = put(lake, rows(d0=[1], d1=[-2]))
    assert audit(lake, staging, SPEC).bad_days == {DAYS[1]: ["id_is_positive"]}
    lake.publish(staging, DAYS[:1])
    assert read(lake) == [(1, DAYS[0])]


def test_statistics_never_hide_not_a_number(lake: Lake):
    table = pa.table({"id": [1, 2], "x": [1.0, float("nan")], "ds": [DAYS[0]] * 2})
    lake.publish(put(lake, table, DAYS[:1]))
    with lake.connect() as connection:
        assert connection.sql("select id from silver.orders where x > 5").fetchall() == [(2,)]


def test_a_broken_table_spoils_no_other_and_says_what_is_wrong_with_it(lake: Lake):
    lake.publish(put(lake, rows(d0=[1])))
    log = Path(lake.path("gold", "torn")) / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text('{"add":')
    assert read(lake) == [(1, DAYS[0])]
    with lake.connect() as connection:
        for query in (
            "select * from gold.torn",
            "select count(*) from gold.torn",
            "select id from gold.torn",
        ):
            with pytest.raises(duckdb.Error, match="gold/torn cannot be read"):
                connection.execute(query).fetchall()


def test_a_connection_to_named_tables_reads_no_others_and_names_what_is_missing(lake: Lake):
    lake.publish(put(lake, rows(d0=[1])))
    (Path(lake.path("gold", "torn")) / "_delta_log").mkdir(parents=True)
    with lake.connect(tables=["silver/orders"]) as connection:
        assert connection.sql("select view_name from duckdb_views() where not internal").fetchall() == [
            ("orders",)
        ]
    for name, words in (
        ("gold/torn", "gold/torn cannot be read"),
        ("silver/none", "silver/none"),
        ("orders", "is no table"),
    ):
        with pytest.raises(LakeError, match=words):
            lake.connect(tables=[name])
