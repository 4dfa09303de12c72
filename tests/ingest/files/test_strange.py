"""Files as strangers send them, a source each: what the loader makes of them, value by value."""

from __future__ import annotations

import gzip
import io
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.ingest.files.plan.listing import scan, scan_announced
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

Files = dict[str, str | bytes]


def loaded(lake: Lake, settings: Settings, files: Files, shown: str, **how: Any) -> tuple[list, list]:
    """Rows with what was rescued, and the quarantine: file, position (None: the whole file), reason."""
    bench = Bench(None, lake, settings, types="inferred", limits={"bad_files": 99}, **how)
    for name, content in files.items():
        bench.drop(DAYS[0], name, content)
    bench.run(DAYS[:1])
    bad = []
    if lake.table("quarantine", "invoices") is not None:
        query = "select split_part(file, '/', -1), row, reason from quarantine.invoices order by all"
        bad = lake.connect().execute(query).fetchall()
    return bench.rows(f"{shown}, _rescued_data", "_file, _row"), bad


def test_a_quote_that_nothing_closes_costs_its_record_and_is_told(lake: Lake, settings: Settings) -> None:
    files: Files = {
        "cut.csv": 'id,n\n1,b\n2,"cut off he',
        "opened.csv": 'id,n\n3,"open\n4,b\n5,c\n',
        "empty.csv": 'id,n\n6,"',
        "long.csv": 'id,n\n7,"' + "y\n" * 9_000,
        "ends in a quote.csv": 'id,n\n8,"a""\n',
        "right.csv": 'id,n\n10,""\n11,5"\n12,"x\n"\n13,"say ""hi"""\n\n',
        "right too.csv": 'id,n\n14,"' + "y\n" * 9_000 + '"\r\n',
    }
    rows, bad = loaded(lake, settings, files, "id, n[:9]")
    assert rows == [
        (1, "b", None), (14, "y\ny\ny\ny\ny", None), (10, "", None), (11, '5"', None), (12, "x\n", None),
        (13, 'say "hi"', None),
    ]  # fmt: skip
    reason = "opens a quote that nothing closes"
    assert bad == [
        ("cut.csv", 1, reason), ("empty.csv", 0, reason), ("ends in a quote.csv", 0, reason),
        ("long.csv", 0, reason), ("opened.csv", 0, reason),
    ]  # fmt: skip


def test_wide_encodings_are_named_and_not_read_as_utf8(lake: Lake, settings: Settings) -> None:
    encodings = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
    texts = {"csv": "id,n\n1,Zoë\n", "jsonl": '{"id": 1, "n": "Zoë"}\n', "json": '[{"id": 1}]'}
    files: Files = {f"{e}.{kind}": text.encode(e) for e in encodings for kind, text in texts.items()}
    bench = Bench(None, lake, settings, limits={"bad_files": 99})
    for name, content in files.items():
        bench.drop(DAYS[0], name, content)
    told = {bad.file.path.rpartition("/")[2]: bad.reason for bad in bench.run(DAYS[:1]).bad_files}
    assert told.keys() == files.keys()
    for name, reason in told.items():
        assert f"set `encoding: {name.rpartition('.')[0]}` under `format`" in reason


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_a_declared_encoding_is_read(lake: Lake, settings: Settings, encoding: str) -> None:
    files: Files = {"a.csv": "id,n\n1,Zoë\r\n2,b".encode(encoding)}
    rows, bad = loaded(lake, settings, files, "id, n", format={"type": "csv", "encoding": encoding})
    assert (rows, bad) == ([(1, "Zoë", None), (2, "b", None)], [])


def test_a_number_that_no_double_holds_is_kept_as_it_was_written(lake: Lake, settings: Settings) -> None:
    first = '{"a": 1e400, "b": 1180591620717411303424, "c": -0.0, "d": 1e-500, "e": 123456789012345678.123456789}\n'
    second = '{"a": 1.5, "b": 1, "c": 1, "d": 0.0, "e": 0.1}\n'
    files: Files = {"a.jsonl": first + second, "b.csv": "a\n1e400\n-1.5\n0\n"}
    how = {"columns": {"e": {"type": "decimal(38,9)"}}}
    rows, _ = loaded(lake, settings, files, "a, b, c, d, e", **how)
    assert rows == [
        (None, Decimal(2**70), 0.0, None, Decimal("123456789012345678.123456789"), '{"a": "1e400", "d": "1e-500"}'),
        (1.5, Decimal(1), 1.0, 0.0, Decimal("0.1"), None),
        (None, None, None, None, None, '{"a": "1e400"}'),
        (-1.5, None, None, None, None, None),
        (0.0, None, None, None, None, None),
    ]  # fmt: skip


def test_a_new_table_has_types_that_fit_all_sampled_files(lake: Lake, settings: Settings) -> None:
    files: Files = {
        "a.csv": "zip,x\n12345,1\n",
        "b.csv": "zip,x\n00123,1.5\n",
        "c.jsonl": '{"x": 2, "y": 1}\n',
        "d.jsonl": '{"y": "s"}\n{"y": true}\n{"y": [1]}\n',
    }
    rows, _ = loaded(lake, settings, files, "zip, x, y", columns={"z": {"type": "int"}})
    assert rows == [
        ("12345", 1.0, None, None),
        ("00123", 1.5, None, None),
        (None, 2.0, "1", None),
        (None, None, "s", None),
        (None, None, "true", None),
        (None, None, "[1]", None),
    ]


def test_the_ends_of_time(lake: Lake, settings: Settings) -> None:
    lines = [
        "d,t",
        "0001-01-01,0001-01-01T00:00:00Z",
        "9999-12-31,9999-12-31T23:59:59.999999Z",
        ",2016-12-31T23:59:60Z",
        "10000-01-01,2026-02-30T00:00:00",
        ",2026-10-05T10:00:00.123456789Z",
        ",2026-10-05T10:00:00.123456000Z",
    ]
    how = {"columns": {"d": {"type": "date"}, "t": {"type": "timestamp"}}}
    rows, _ = loaded(lake, settings, {"a.csv": "\n".join(lines)}, "d, t", **how)
    assert rows == [
        (date(1, 1, 1), datetime(1, 1, 1, tzinfo=UTC), None),
        (date(9999, 12, 31), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), None),
        (None, None, '{"t": "2016-12-31T23:59:60Z"}'),
        (None, None, '{"d": "10000-01-01", "t": "2026-02-30T00:00:00"}'),
        (None, None, '{"t": "2026-10-05T10:00:00.123456789Z"}'),
        (None, datetime(2026, 10, 5, 10, 0, 0, 123456, UTC), None),
    ]
    found = lake.connect().execute("select count(*) from bronze.invoices where t > '9999-12-31T23:00:00Z'")
    assert found.fetchall() == [(1,)]


@pytest.mark.parametrize("more", ["", "?,?,?,?,?,?,?,?\n"])
def test_a_declared_type_takes_a_text_or_not_whatever_stands_beside_it(
    lake: Lake, settings: Settings, more: str
) -> None:
    content = "t,d,i,b,f,x,y,z\n1791072000000,1791072000,0x10,1,1.1,16777217,1_0,1_0\n" + more
    kinds = ["timestamp", "date", "int", "boolean", "float", "float", "double", "decimal(5,2)"]
    how = {"columns": {name: {"type": kind} for name, kind in zip("tdibfxyz", kinds, strict=True)}}
    rows, _ = loaded(lake, settings, {"a.csv": content}, "t, d, i, b, f, y, z", **how)
    assert rows[0][:-1] == (None, None, None, True, pytest.approx(1.1, rel=1e-6), None, None)
    rescued = json.loads(rows[0][-1])
    assert {name: rescued[name] for name in "tdiyz"} == {
        "t": "1791072000000", "d": "1791072000", "i": "0x10", "y": "1_0", "z": "1_0"
    }  # fmt: skip


def test_attributes_of_one_name_in_two_namespaces_are_both_kept(lake: Lake, settings: Settings) -> None:
    content = '<r xmlns:b="u"><row id="1" b:id="2" VALUE="v">text</row></r>'
    how = {"format": {"type": "xml", "row_tag": "row"}}
    rows, _ = loaded(lake, settings, {"a.xml": content}, "_id, _VALUE", **how)
    assert rows == [(["1", "2"], ["v", "text"], None)]


def test_of_a_name_inside_and_outside_of_what_is_unwrapped_both_are_kept(
    lake: Lake, settings: Settings
) -> None:
    content = '{"k": 1, "data": {"id": 1, "k": "in"}}\n{"k": 2, "data": null}\n'
    rows, _ = loaded(lake, settings, {"a.jsonl": content}, "id, k", unwrap="data")
    assert rows == [(1, "in", '{"k": 1}'), (None, None, '{"k": 2}')]


def test_what_cannot_be_read_says_what_to_do(lake: Lake, settings: Settings) -> None:
    files: Files = {"a.xml": "<r/>", "b.7z": "7z", "c.dat": ""}
    bench = Bench(None, lake, settings)
    for name, content in files.items():
        bench.drop(DAYS[0], name, content)
    told = [bad.reason for bad in bench.stage(DAYS[:1]).bad_files]
    for reason, name, cure in zip(
        told, files, ["row_tag: …", "unpack it", "its name does not say"], strict=True
    ):
        assert name in reason and cure in reason and "leave the file out with `glob`" in reason


@pytest.mark.parametrize("told", ["listing", "message"])
def test_a_late_or_changed_file_below_the_watermark_is_loaded_once_it_is_found(
    lake: Lake, settings: Settings, told: str
) -> None:
    bench = Bench(None, lake, settings, ordered=True)
    for name in ("1.csv", "2.csv"):
        bench.drop(DAYS[0], name, "id\n1\n")
    bench.run(DAYS[:1])
    assert scan(lake, bench.landing, bench.source).files == 0  # the watermark stands at the last name
    late = bench.drop(DAYS[0], "0.csv", "id\n5\n")
    changed = bench.drop(DAYS[0], "1.csv", "id\n7\n8\n")
    assert scan(lake, bench.landing, bench.source).files == 0
    if told == "listing":
        assert scan(lake, bench.landing, bench.source, full=True).files == 2
    else:
        root = Path(settings.landing_root)
        files = [f for p in (late, changed) if (f := bench.landing.look(str(p.relative_to(root))))]
        assert scan_announced(lake, bench.landing, bench.source, files).files == 2
    bench.run(DAYS[:1])
    assert bench.rows("id") == [("5",), ("7",), ("8",), ("1",)]
    assert scan(lake, bench.landing, bench.source).listed == 3
    assert scan(lake, bench.landing, bench.source).listed == 0
    assert scan(lake, bench.landing, bench.source, full=True).files == 0
    assert scan(lake, bench.landing, bench.source).listed == 0  # a full listing takes no watermark back


PACKED = gzip.compress(b"id", mtime=0)


@pytest.mark.parametrize(("compression", "content"), [("auto", b"id"), ("none", PACKED)])
def test_binary_files_are_unpacked_as_declared(
    lake: Lake, settings: Settings, compression: str, content: bytes
) -> None:
    how = {"format": {"type": "binary"}, "compression": compression}
    rows, _ = loaded(lake, settings, {"a.gz": PACKED}, "content", **how)
    assert rows == [(content, None)]


def avro(schema: Any, records: list[Any]) -> bytes:
    import fastavro

    sink = io.BytesIO()
    fastavro.writer(sink, fastavro.parse_schema(schema), records)
    return sink.getvalue()


def test_avro_keeps_the_types_of_its_schema(lake: Lake, settings: Settings) -> None:
    fields = {
        "i": "int",
        "u": ["null", "int", "string"],
        "dec": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
        "m": {"type": "map", "values": "long"},
        "r": {"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", "float"]}]},
        "again": "r",
    }
    schema = {"type": "record", "name": "s", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    record = {"i": 1, "dec": Decimal("1.5"), "m": {"k": 1}, "r": {"x": 0.5}, "again": {"x": None}}
    kinds = [{"type": "record", "name": n, "fields": [{"name": n, "type": "string"}]} for n in ("x", "y")]
    files: Files = {
        "a.avro": avro(schema, [record | {"u": 7}, record | {"u": "t"}]),
        "b.avro": avro(kinds, [{"x": "p"}, {"y": "q"}]),
    }
    rows, bad = loaded(lake, settings, files, "i, u, dec, m, r, again, x, y")
    same = (Decimal("1.5"), {"k": 1}, {"x": 0.5}, {"x": None}, None, None, None)
    nothing = (None,) * 6
    assert bad == []
    assert rows == [
        (1, "7", *same),
        (1, "t", *same),
        (*nothing, "p", None, None),
        (*nothing, None, "q", None),
    ]
    described = lake.connect().execute("describe bronze.invoices").fetchall()
    assert {name: kind for name, kind, *_ in described if name in fields} == {
        "i": "INTEGER",
        "u": "VARCHAR",
        "dec": "DECIMAL(20,3)",
        "m": "MAP(VARCHAR, BIGINT)",
        "r": "STRUCT(x FLOAT)",
        "again": "STRUCT(x FLOAT)",
    }


def test_an_xml_element_that_repeats_anywhere_is_a_list_everywhere(lake: Lake, settings: Settings) -> None:
    files: Files = {
        "a.xml": "<r><row><t>1</t><t>2</t></row><row><t>3</t></row><row/></r>",
        "b.xml": "<r><row><t>4</t></row></r>",
    }
    how = {"format": {"type": "xml", "row_tag": "row"}}
    bench = Bench(None, lake, settings, types="inferred", **how)
    for name, content in files.items():
        bench.drop(DAYS[0], name, content)
        bench.run(DAYS[:1])
    assert bench.rows("t, _rescued_data") == [(["1", "2"], None), (["3"], None), (None, None), (["4"], None)]


def test_what_is_no_file_is_passed_over_and_odd_names_are_files(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings)
    names = [
        "100%.csv",
        "a#b.csv",
        "a+b.csv",
        "😀.csv",
        "new\nline.csv",
        " a?*[1].csv",
        "q'u\"o\\te.csv",
        "%20.csv",
    ]
    for name in names:
        bench.drop(DAYS[0], name, "id\n1\n")
    folder = bench.folder / f"ds={DAYS[0]}"
    os.mkfifo(folder / "pipe.csv")
    os.symlink("/nowhere", folder / "dangling.csv")
    os.symlink("..", folder / "up")
    os.symlink("itself.csv", folder / "itself.csv")
    (folder / "folder.csv").mkdir()
    Path(folder / "folder.csv" / "inside.csv").write_text("id\n2\n")
    bench.drop(DAYS[0], ".hidden.csv", "id\n3\n")
    for stamp, name in ((4e9, "future.csv"), (-1e9, "past.csv")):
        os.utime(bench.drop(DAYS[0], name, "id\n4\n"), (stamp, stamp))
    for day in ("2026-13-01", "notadate", "2026-1-5", f"{DAYS[0]} "):
        bench.drop(day, "a.csv", "id\n9\n")
    assert scan(lake, bench.landing, bench.source).undated_count == 4
    bench.run()
    rows = bench.rows("split_part(_file, '/', -1), id", "1")
    assert rows == sorted(
        [*((n, "1") for n in names), ("inside.csv", "2"), ("future.csv", "4"), ("past.csv", "4")]
    )
    assert scan(lake, bench.landing, bench.source).files == 0
