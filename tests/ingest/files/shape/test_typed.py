"""Types, modes and ways of writing: nothing is nulled in silence, each row is there once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asgard_assets.ingest.files.shape.schema import schema_versions
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_types_are_inferred_widened_and_never_nulled(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, types="inferred", columns={"code": {"type": "string"}})
    bench.drop(DAYS[0], "a.jsonl", lines({"id": 1, "n": 1, "who": {"name": "a"}, "code": 7, "b": True}))
    bench.run(DAYS[:1])
    assert bench.rows("id, n, who.name, code, b") == [(1, 1, "a", "7", True)]
    bench.drop(
        DAYS[1],
        "b.jsonl",
        lines(
            {"ID": 2, "n": 1.5, "who": {"NAME": "b", "age": 3}, "b": "perhaps"},
            {"id": "x", "n": 2, "new": [1]},
        ),
    )
    loaded = bench.run()
    assert bench.rows("id, n, who.name, who.age, b, new") == [
        (1, 1.0, "a", None, True, None),
        (2, 1.5, "b", 3, None, None),
        (None, 2.0, None, None, None, [1]),
    ]
    assert [json.loads(r[0]) for r in bench.rows("_rescued_data") if r[0]] == [{"b": "perhaps"}, {"id": "x"}]
    told = {(c.kind, c.column, c.after) for c in loaded.changes}
    assert ("TYPE_CHANGE", "n", "double") in told
    assert ("TYPE_CHANGE", "who", "struct<name: string, age: bigint>") in told
    assert ("NEW_COLUMN", "new", "array<bigint>") in told
    assert ("REMOVED_COLUMN", "code", "") in told
    versions = schema_versions(lake, "invoices")
    assert [v.version for v in versions] == [1, 2]
    assert versions[1].columns["n"] == "double"


@pytest.mark.slow
def test_nested_values_widen_and_what_another_type_brings_is_rescued_where_it_stood(
    lake: Lake, settings: Settings
) -> None:
    bench = Bench(None, lake, settings, types="inferred")
    stages: list[list[object]] = [
        [{"n": 1, "s": {"x": 1}, "l": [{"k": 1}], "t": {"x": 1}}],
        [{"n": 1.5, "s": {"x": 1.5, "y": {"z": 1}}, "l": [{"k": 1, "v": "a"}, None], "t": {"X": 2}}],
        [{"n": "many", "s": {"x": "many", "y": {"z": 2.5}}, "l": [{"k": "one"}], "t": "text"}],
        [{"n": {"x": 1}, "s": [1], "l": {"k": 1}, "t": None}, {"n": 123456789012345678901234567890}],
    ]
    changes = []
    for number, records in enumerate(stages):
        bench.drop(DAYS[0], f"{number}.jsonl", lines(*records))
        changes += [(c.column, c.after, c.resolution) for c in bench.run(DAYS[:1]).changes]
    assert bench.rows("n, s, l, t") == [
        (1.0, {"x": 1.0, "y": None}, [{"k": 1, "v": None}], {"x": 1}),
        (1.5, {"x": 1.5, "y": {"z": 1.0}}, [{"k": 1, "v": "a"}, None], {"x": 2}),
        (None, {"x": None, "y": {"z": 2.5}}, None, None),
        (None, None, None, None),
        (None, None, None, None),
    ]
    rescued = [json.loads(row[0]) if row[0] else None for row in bench.rows("_rescued_data")]
    assert rescued == [
        None,
        None,
        {"n": "many", "s.x": "many", "l": [{"k": "one"}], "t": "text"},
        {"n": {"x": 1}, "s": [1], "l": {"k": 1}},
        {"n": 123456789012345678901234567890},
    ]
    assert ("s", "struct<x: double, y: struct<z: bigint>>", "widened") in changes
    assert ("l", "array<struct<k: bigint, v: string>>", "widened") in changes
    assert ("n", "string", "kept; such values are in _rescued_data") in changes
    assert [v.columns["s"] for v in schema_versions(lake, "invoices")][-1] == (
        "struct<x: double, y: struct<z: double>>"
    )


@pytest.mark.slow
def test_names_within_nested_values_are_made_names_that_a_table_can_have(
    spark: SparkSession, lake: Lake, settings: Settings
) -> None:
    bench = Bench(spark, lake, settings, types="inferred")
    bench.drop(DAYS[0], "a.jsonl", lines({"w": {"dc:title": 1, "a b": {"x,y": 2}, "<`>": 3, "": 4}}))
    bench.drop(
        DAYS[0], "b.jsonl", lines({"w": {"dc:title": 5, "A_B": {"X Y": 6}, "case": 7, "CASE": 8}, "e": {}})
    )
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "c.jsonl", lines({"w": {"dc:title": 1.5, "a;b": {"x,y": 2.5}}}))
    bench.run()
    fields = 'w."dc:title", w.a_b.x_y, w."<`>", w."_", w."case", e'
    assert bench.rows(fields) == [
        (1.0, 2.0, 3, 4, None, None),
        (5.0, 6.0, None, None, 7, "{}"),
        (1.5, 2.5, None, None, None, None),
    ]
    assert [json.loads(row[0]) for row in bench.rows("_rescued_data") if row[0]] == [{"w.CASE": 8}]
    read = spark.read.format("delta").load(lake.path("bronze", "invoices"))
    assert sorted(row[0] for row in read.select("w.`dc:title`").collect()) == [1.0, 1.5, 5.0]


def test_declared_types_are_kept_and_what_does_not_fit_is_rescued(lake: Lake, settings: Settings) -> None:
    types = {"id": "bigint", "amount": "decimal(6,2)", "day": "date", "at": "timestamp"}
    bench = Bench(None, lake, settings, columns={n: {"type": t} for n, t in types.items()})
    bench.drop(
        DAYS[0],
        "a.csv",
        "id,amount,day,at\n007,1.50,1899-12-31,1883-01-01T00:00:00Z\n1e3,12345.67,soon,2026-10-05 10:00:00\n",
    )
    bench.run(DAYS[:1])
    assert bench.rows('id, amount::varchar, day::varchar, epoch("at")::bigint') == [
        (7, "1.50", "1899-12-31", -2745446400),
        (None, None, None, 1791194400),
    ]
    [rescued] = [json.loads(r[0]) for r in bench.rows("_rescued_data") if r[0]]
    assert rescued == {"id": "1e3", "amount": "12345.67", "day": "soon"}


def test_a_changed_type_may_fail_the_day(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, types="inferred", schema_mode="failOnNewColumns")
    bench.drop(DAYS[0], "a.jsonl", lines({"n": 1}))
    bench.run(DAYS[:1])
    bench.drop(DAYS[1], "b.jsonl", lines({"n": "x"}))
    assert "changed schema" in bench.run().failed[DAYS[1]]
    assert bench.rows("n") == [(1,)]


@pytest.mark.slow
def test_an_upsert_keeps_the_newest_row_of_a_key_whatever_the_order_of_arrival(
    lake: Lake, settings: Settings
) -> None:
    bench = Bench(None, lake, settings, write={"type": "upsert", "key": ["id"], "newest_by": ["at"]})
    bench.drop(DAYS[1], "late.csv", "id,at,v\n1,2,new\n2,2,two\n2,1,older\n")
    bench.run()
    changed = bench.drop(DAYS[0], "early.csv", "id,at,v\n1,1,old\n3,1,three\n")
    bench.run()
    assert bench.rows("id, v, ds", "id") == [
        ("1", "new", DAYS[1]),
        ("2", "two", DAYS[1]),
        ("3", "three", DAYS[0]),
    ]
    changed.write_text("id,at,v\n1,9,newest\n")
    os.utime(changed, (2e9, 2e9))
    bench.run()
    assert bench.rows("id, v, ds", "id") == [("1", "newest", DAYS[0]), ("2", "two", DAYS[1])]
    before = bench.hash()
    bench.run(full=True)
    assert bench.hash() == before


@pytest.mark.slow
def test_the_day_may_stand_in_a_column(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, ds={"type": "column", "name": "day"})
    path = bench.put("a.csv", f"id,day\n1,{DAYS[0]}\n2,{DAYS[2]}T23:59:59-02:00\n3,never\n")
    os.utime(path, (1791201600, 1791201600))  # arrived on 2026-10-05
    loaded = bench.run(DAYS[:1])
    assert bench.rows("id, ds") == [("1", DAYS[0]), ("2", "2026-10-08")]
    assert [row[:2] for row in bench.quarantined()] == [("a.csv", 2)]
    assert loaded.days[DAYS[0]].rows == 2
    path.write_text(f"id,day\n2,{DAYS[1]}\n")
    os.utime(path, (1791201700, 1791201700))
    bench.run(DAYS[:1])
    assert bench.rows("id, ds") == [("2", DAYS[1])]
    assert bench.quarantined() == []


def test_light_sql_computes_and_leaves_out(lake: Lake, settings: Settings) -> None:
    sql = "select id, upper(name) as name, cast(n as bigint) * 2 as twice from files where id <> '2'"
    bench = Bench(None, lake, settings, sql=sql, types="inferred")
    bench.drop(DAYS[0], "a.csv", "id,name,n\na,x,1\n2,y,2\nb,z,3\n")
    bench.drop(DAYS[1], "b.csv", "id,name,n\nc,x,many\n")
    loaded = bench.run()
    assert bench.rows("id, name, twice, _row") == [("a", "X", 2, 0), ("b", "Z", 6, 2)]
    assert loaded.days[DAYS[0]].left_out_rows == 1
    assert "`sql` does not fit" in loaded.failed[DAYS[1]]


def test_overwrite_replaces_the_day_by_what_lies_there(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, write={"type": "overwrite"})
    gone = bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.run(DAYS[:1])
    gone.unlink()
    bench.drop(DAYS[0], "b.csv", "id\n2\n")
    bench.run(DAYS[:1])
    assert bench.rows("id") == [("2",)]


@pytest.mark.parametrize(
    ("limits", "failed"), [({}, False), ({"bad_rows": 1}, True), ({"bad_share": 0.5}, False)]
)
def test_a_day_with_too_many_bad_rows_is_not_published(
    lake: Lake, settings: Settings, limits: dict, failed: bool
) -> None:
    bench = Bench(None, lake, settings, limits=limits)
    bench.drop(DAYS[0], "a.jsonl", '{"id": 1}\nx\ny\n{"id": 2}\n')
    loaded = bench.run(DAYS[:1])
    assert (DAYS[0] in loaded.failed) is failed
    assert len(bench.quarantined()) == 2


@pytest.mark.slow
def test_a_failed_file_within_the_limit_stands_in_quarantine_until_it_is_repaired(
    lake: Lake, settings: Settings
) -> None:
    bench = Bench(None, lake, settings, limits={"bad_files": 1})
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bad = bench.drop(DAYS[0], "b.parquet", "no parquet")
    loaded = bench.run(DAYS[:1])
    assert [b.file.path for b in loaded.bad_files] == [f"invoices/ds={DAYS[0]}/b.parquet"]
    assert bench.rows("id") == [("1",)]
    assert bench.states() == {"loaded", "failed"}
    bad.unlink()
    bench.drop(DAYS[0], "b.parquet", _parquet())
    os.utime(bad, (2e9, 2e9))
    bench.run(DAYS[:1])
    assert bench.rows("id") == [("1",), ("2",)]
    assert bench.quarantined() == []
    assert bench.states() == {"loaded"}


def _parquet() -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["2"]}), sink)
    return sink.getvalue()


def test_lost_plans_double_no_row(lake: Lake, settings: Settings) -> None:
    import shutil

    bench = Bench(None, lake, settings)
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.run(DAYS[:1])
    shutil.rmtree(f"{lake.root}/_plans")
    shutil.rmtree(f"{lake.root}/_manifest", ignore_errors=True)
    bench.drop(DAYS[0], "b.csv", "id\n2\n")
    bench.run(DAYS[:1])
    assert bench.rows("id") == [("1",), ("2",)]


def test_declared_types_are_checked_without_loading_pyarrow() -> None:
    """It is 35 MB of the host of each launched step."""
    code = (
        "import sys\n"
        "from asgard_assets.lake.sql import TypeNameError, check_type\n"
        "for name in ('string', ' Integer ', 'decimal(12, 2)'): check_type(name)\n"
        "assert 'pyarrow' not in sys.modules\n"
        "check_type('struct<a: int, b: array<string>>')\n"
        "for name in ('decimal(39,2)', 'decimal(2,3)', 'number', 'array<number>'):\n"
        "    try: check_type(name)\n"
        "    except TypeNameError: continue\n"
        "    raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
