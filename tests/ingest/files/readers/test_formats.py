"""Every format through the whole loader: rows, `_metadata`, what is rescued, what is in quarantine."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.ingest.files.samples import (
    COMPRESS,
    NAMES,
    RECORDS,
    as_avro,
    as_csv,
    as_lines,
    as_orc,
    as_parquet,
    as_xml,
    counted,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DOCUMENT = json.dumps(RECORDS, ensure_ascii=False, indent=1).encode()
SAME: dict[str, bytes] = {
    "a.csv": as_csv(),
    "bom.CSV": b"\xef\xbb\xbf" + as_csv(),
    "a.tsv": as_csv(delimiter="\t"),
    "a.jsonl": as_lines(),
    "crlf.ndjson": as_lines().replace(b"}\n", b"}\r\n"),
    "array.json": DOCUMENT,
    "lines.json": as_lines(),
    **{f"{codec}.parquet": as_parquet(compression=codec) for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli")},
    **{f"{codec}.orc": as_orc(compression=codec) for codec in ("uncompressed", "snappy", "zlib", "lz4", "zstd")},
    **{f"{codec}.avro": as_avro(codec=codec) for codec in ("null", "deflate", "bzip2", "xz")},
    **{f"a.csv{ending}": pack(as_csv()) for ending, pack in COMPRESS.items()},
    **{f"a.jsonl{ending}": pack(as_lines()) for ending, pack in COMPRESS.items()},
    "a.avro.gz": COMPRESS[".gz"](as_avro()),
    "a.parquet.xz": COMPRESS[".xz"](as_parquet()),
}  # fmt: skip
"""The same three records, each file read by what its name says."""


def loaded(bench: Bench, columns: str) -> dict[str, list[tuple]]:
    """Rows by file, in their order."""
    found: dict[str, list[tuple]] = {}
    for name, *row in bench.rows(f"split_part(_file, '/', -1), {columns}", "_file, _row"):
        found.setdefault(name, []).append(tuple(row))
    return found


@pytest.mark.slow
def test_every_format_that_a_name_tells_gives_the_same_records(
    spark: SparkSession, lake: Lake, settings: Settings
) -> None:
    bench = Bench(spark, lake, settings)
    paths = {name: bench.drop(DAYS[0], name, content) for name, content in SAME.items()}
    done = bench.run(DAYS[:1])
    assert done.failed == {} and done.bad_files == ()
    expected = [(n, *record.values()) for n, record in enumerate(RECORDS)]
    found = loaded(bench, f"_row, {', '.join(NAMES)}")
    assert found.keys() == SAME.keys()
    for name, rows in found.items():
        assert rows == expected, name
    told = loaded(
        bench, "_metadata.path, _metadata.size, _metadata.etag, epoch_us(_metadata.modified), _metadata.row"
    )
    for name, rows in told.items():
        stat = paths[name].stat()
        about = (
            f"invoices/ds={DAYS[0]}/{name}",
            stat.st_size,
            f"{stat.st_mtime_ns // 1000:x}-{stat.st_size:x}",
        )
        assert rows == [(*about, stat.st_mtime_ns // 1000, n) for n in range(3)], name
    assert bench.rows("distinct _rescued_data", "1") == [(None,)]


DECLARED: dict[str, tuple[dict[str, Any], str, bytes, list[tuple]]] = {
    "csv without header": (
        {"format": {"type": "csv", "header": False, "names": NAMES}},
        "a.csv",
        as_csv(header=False),
        [tuple(each.values()) for each in RECORDS],
    ),
    "csv without header, with a mark and other signs": (
        {"format": {"type": "csv", "header": False, "names": NAMES, "delimiter": ";", "quote": "'", "null_values": ["-"]}},
        "a.dat",
        "\ufeff'1';'Zoë';'it''s'\r\n\r\n2;-;\r\n".encode(),
        [("1", "Zoë", "it's"), ("2", None, "")],
    ),
    "csv in another encoding, escaped": (
        {"format": {"type": "csv", "encoding": "cp1252", "escape": "\\"}},
        "a.csv",
        'id,name,note\n1,"€ \\"x\\"",ü\n'.encode("cp1252"),
        [("1", '€ "x"', "ü")],
    ),
    "records within a json document": (
        {"format": {"type": "json", "records": "data.items"}},
        "a.json.gz",
        COMPRESS[".gz"](json.dumps({"data": {"items": RECORDS}, "next": None}).encode()),
        [tuple(each.values()) for each in RECORDS],
    ),
    "json in UTF-16": (
        {"format": {"type": "json", "encoding": "utf-16"}},
        "a.jsonl",
        as_lines().decode().encode("utf-16"),
        [tuple(each.values()) for each in RECORDS],
    ),
    "xml": (
        {"format": {"type": "xml", "row_tag": "order"}},
        "a.xml.bz2",
        COMPRESS[".bz2"](as_xml()),
        [tuple(value.strip() or None for value in each.values()) for each in RECORDS],
    ),
    "xml in another encoding, with attributes and a namespace": (
        {"format": {"type": "xml", "row_tag": "order", "attribute_prefix": ""}},
        "a.xml",
        '<?xml version="1.0" encoding="ISO-8859-1"?><o:orders xmlns:o="urn:x"><o:order id="1"><name>Zoë</name>'
        "<note>a</note><note>b</note></o:order></o:orders>".encode("latin-1"),
        [("1", "Zoë", '["a","b"]')],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", DECLARED)
def test_what_no_name_tells_is_declared(lake: Lake, settings: Settings, case: str) -> None:
    changes, name, content, rows = DECLARED[case]
    bench = Bench(None, lake, settings, **changes)
    bench.drop(DAYS[0], name, content)
    assert bench.run(DAYS[:1]).failed == {}
    assert bench.rows(", ".join(NAMES)) == rows
    assert bench.rows("_row, _metadata.row") == [(n, n) for n in range(len(rows))]


@pytest.mark.slow
def test_text_by_lines_as_a_whole_and_any_bytes(lake: Lake, settings: Settings) -> None:
    content = "first\r\n\n\ufeffthird ü\r".encode()
    rows: dict[str, list[tuple]] = {}
    for form in ({"type": "text"}, {"type": "text", "whole": True}, {"type": "binary"}):
        kind = "whole" if "whole" in form else str(form["type"])
        bench = Bench(None, lake, settings, name=kind, path=kind, format=form)
        bench.drop(DAYS[0], "a.anything", content)
        bench.drop(DAYS[0], "empty.anything", b"")
        bench.run(DAYS[:1])
        column = "content" if kind == "binary" else "value"
        rows[kind] = bench.rows(f"_row, {column}")
    assert rows == {
        "text": [(0, "first"), (1, ""), (2, "\ufeffthird ü")],
        "whole": [(0, content.decode()), (0, "")],
        "binary": [(0, content), (0, b"")],
    }


BROKEN: dict[str, tuple[bytes, dict[int, str]]] = {
    "ragged.csv": (b'id,name\r\n1,a\r\n2\r\n"3","x\r\ny",z\r\n4,"\xff"\r\n5,b', {1: "2", 2: '"3","x\r\ny",z', 3: "4,\\xff"}),
    "ragged.tsv": (b"id\tname\n1\ta\n2\tb\tc\n", {1: "2\tb\tc"}),
    "ragged.csv.zst": (COMPRESS[".zst"](b"id,name\n1\n2,b\n"), {0: "1"}),
    "bad.jsonl": (b'{"id": 1}\r\n{"id": \r\n\r\n[2]\n"x"\n{"id": "\xff"}\n{"id": 6}{"id": 7}', {
        1: '{"id": ', 3: "[2]", 4: '"x"', 5: '{"id": "\\xff"}', 6: '{"id": 6}{"id": 7}'}),
    "bad.json": (b'[{"id": 1}, 2, [3], {"id": 4}]', {1: "2", 2: "[3]"}),
    "bad.txt": (b"ok\n\xff\nok", {1: "\\xff"}),
}  # fmt: skip


def test_a_record_that_cannot_be_read_is_in_quarantine_as_it_was_written(
    lake: Lake, settings: Settings
) -> None:
    bench = Bench(None, lake, settings)
    for name, (content, _) in BROKEN.items():
        bench.drop(DAYS[0], name, content)
    done = bench.run(DAYS[:1])
    told: dict[str, dict[int, str]] = {}
    for name, row, raw in bench.quarantined():
        told.setdefault(name, {})[row] = raw
    assert told == {name: bad for name, (_, bad) in BROKEN.items()}
    rows = {name: len(found) for name, found in loaded(bench, "_row").items()}
    for name, (content, bad) in BROKEN.items():
        assert rows.get(name, 0) + len(bad) == counted(name, content), name
    assert done.days[DAYS[0]].quarantined_rows == sum(len(bad) for _, bad in BROKEN.values())
    query = "select count(*), count(*) filter (reason = '' or size is null or version is null) from quarantine.invoices"
    assert lake.connect().execute(query).fetchall() == [(done.days[DAYS[0]].quarantined_rows, 0)]


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


REFUSED: dict[str, bytes] = {
    **{f"cut.{kind}": _cut(content) for kind, content in {
        "parquet": as_parquet(), "orc": as_orc(), "avro": as_avro(), "json": DOCUMENT}.items()},
    **{f"cut.jsonl{ending}": _cut(pack(as_lines(RECORDS * 500))) for ending, pack in COMPRESS.items()},
    **{f"plain.jsonl{ending}": as_lines() for ending in COMPRESS},
    **{f"packed{n}.jsonl": pack(as_lines()) for n, pack in enumerate(COMPRESS.values())},
    "renamed.csv": as_parquet(),
    "renamed.jsonl": as_orc(),
    "renamed.parquet": as_csv(),
    "renamed.orc": as_avro(),
    "renamed.avro": as_lines(),
    "empty.parquet": b"",
    "empty.orc": b"",
    "empty.avro": b"",
    "utf16.csv": as_csv().decode().encode("utf-16"),
    "later.xml": as_xml(),
    "what.xlsx": b"PK\x03\x04",
}  # fmt: skip


def test_a_file_that_cannot_be_read_is_in_quarantine_with_its_reason_and_holds_nothing_up(
    lake: Lake, settings: Settings
) -> None:
    bench = Bench(None, lake, settings, limits={"bad_files": len(REFUSED)})
    bench.drop(DAYS[0], "good.csv", as_csv())
    for name, content in REFUSED.items():
        bench.drop(DAYS[0], name, content)
    done = bench.run(DAYS[:1])
    assert {Path(bad.file.path).name for bad in done.bad_files} == REFUSED.keys()
    for bad in done.bad_files:
        assert Path(bad.file.path).name in bad.reason
    assert loaded(bench, "id") == {"good.csv": [("1",), ("2",), ("3",)]}
    assert [row[:2] for row in bench.quarantined()] == sorted((name, None) for name in REFUSED)


@pytest.mark.slow
def test_types_that_a_file_knows_are_kept_and_what_a_table_cannot_hold_is_rescued(
    lake: Lake, settings: Settings
) -> None:
    sink = io.BytesIO()
    columns = {
        "n": pa.array([1, 1_000], pa.timestamp("ns")),
        "u": pa.array([2**64 - 1, 1], pa.uint64()),
        "t": pa.array([1, 2], pa.time64("us")),
        "m": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        "d": pa.array(["x", "y"]).dictionary_encode(),
        "l": pa.array([[{"a": 1}], []]),
    }
    pq.write_table(pa.table(columns), sink)
    bench = Bench(None, lake, settings, types="inferred")
    bench.drop(DAYS[0], "a.parquet", sink.getvalue())
    bench.run(DAYS[:1])
    assert bench.rows("epoch_us(n), u::varchar, t, m['a'], d, l") == [
        (None, str(2**64 - 1), "00:00:00.000001", 1, "x", [{"a": 1}]),
        (1, "1", "00:00:00.000002", None, "y", []),
    ]
    [rescued] = [json.loads(row[0]) for row in bench.rows("_rescued_data") if row[0]]
    assert rescued == {"n": "1970-01-01 00:00:00.000000001"}
