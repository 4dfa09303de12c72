"""Hostile files: each loads right or lands in quarantine with its reason, and no record is lost between the two."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq

from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.ingest.files.samples import counted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BIG = "x" * (10 << 20)
DEEP = '{"id": "deep", "d": ' + '{"a":' * 60 + "1" + "}" * 60 + "}"
BOTTOMLESS = '{"id": "bottomless", "d": ' + "[" * 3000 + "]" * 3000 + "}"
NUMBERED = b"".join(b'{"id": %d}\n' % n for n in range(9_000))
HUGE = "123456789012345678901234567890123456789012345"


def as_parquet(*ids: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": list(ids)}), sink)
    return sink.getvalue()


def as_orc(*ids: str) -> bytes:
    sink = io.BytesIO()
    po.write_table(pa.table({"id": list(ids)}), sink)
    return sink.getvalue()


def as_avro(*ids: str) -> bytes:
    import fastavro

    sink = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}]}
    fastavro.writer(sink, schema, [{"id": each} for each in ids], codec="deflate")
    return sink.getvalue()


ZOO: dict[str, bytes] = {
    "empty.csv": b"",
    "empty.jsonl": b"",
    "header_only.csv": b"id,v\n",
    "bom.csv": b"\xef\xbb\xbfid,v\nbom,1\n",
    "bom.jsonl": b'\xef\xbb\xbf{"id": "bom"}\n',
    "mixed_encodings.csv": b"id,v\nutf8,\xc3\xa9\nlatin,\xe9\nagain,\xc3\xa9\n",
    "mixed_encodings.jsonl": b'{"id": "utf8", "v": "\xc3\xa9"}\n{"id": "latin", "v": "\xe9"}\n',
    "ragged.csv": b"id,v\n1,2\n3\n4,5,6\n7,8\n",
    "big_field.csv": f"id,v\nbig,{BIG}\nsmall,1\n".encode(),
    "big_field.jsonl": f'{{"id": "big", "v": "{BIG}"}}\n{{"id": "small"}}\n'.encode(),
    "duplicate_headers.csv": b"id,v,v,ID\n1,2,3,4\n",
    "quoted_newlines.csv": b'id,v\n1,"a\nb\r\nc"\n2,"say ""hi"""\n',
    "windows.csv": b'\xef\xbb\xbf"id","v"\r\n"1","a\r\nb, ""c"""\r\n\r\n2\r\n"3","x",\r\n4,"d"',
    "quoted.tsv": b'id\tv\n1\t"a\tb\nc"\n2\tb"c\n',
    "ragged_latin.csv": b"id,v\n\xe9,1,2\n\xe9\n1,2\n",
    "utf16.csv": "id,v\n1,é\n".encode("utf-16"),
    "utf16.jsonl": '{"id": 1}\n'.encode("utf-16"),
    "twice.jsonl": b'{"id": 1, "v": "x", "id": 2}\n',
    "names.jsonl": b'{"\\ud83d": 1}\n{"a\\u0000b": 1}\n{"": 1}\n{"a.b": 1}\n',
    "fine.csv.xz": lzma.compress(b"id,v\n1,2\n"),
    "truncated.csv.xz": lzma.compress(b"id\n1\n" * 9_000)[:-30],
    "truncated.jsonl.zst": pa.Codec("zstd").compress(NUMBERED, asbytes=True)[:-30],
    "orcid.csv": b"ORCID,v\n1,2\n",
    "documents.json": b'[{"id": {"n": [1, {"x": null}]}}, {"id": []}, "text", null, {"id": "\\ud83d"}]',
    "cut_array.json": b'[{"id": 1},\n{"id": 2},\n{"id',
    "old_mac.csv": b"id,v\r1,2\r3,4\r",
    "numbers.jsonl": f'{{"id": "n", "v": NaN}}\n{{"id": "big", "v": {HUGE}}}\n{{"id": "i", "v": -Infinity}}\n'.encode(),
    "deep.jsonl": f'{DEEP}\n{BOTTOMLESS}\n{{"id": "flat"}}\n'.encode(),
    "truncated.jsonl.gz": gzip.compress(b'{"id": "1"}\n' * 50_000)[:-30],
    "truncated.csv.bz2": bz2.compress(b"id\n1\n" * 9_000)[:-30],
    "two_members.jsonl.gz": gzip.compress(b'{"id": "1"}\n') + gzip.compress(b'{"id": "2"}\n'),
    "fine.csv.bz2": bz2.compress(b"id,v\nbz,2\n"),
    "fine.jsonl.zst": pa.Codec("zstd").compress(b'{"id": "zstd"}\n', asbytes=True),
    "renamed_parquet.json": as_parquet("p"),
    "renamed_gzip.csv": gzip.compress(b"id\n1\n"),
    "fake.parquet": b'{"id": 1}',
    "cut.parquet": as_parquet("p")[:-10],
    "fine.parquet": as_parquet("p", "q"),
    "fine.orc": as_orc("o", "r"),
    "fine.avro": as_avro("a", "b"),
    "cut.avro": as_avro("a", "b")[:-20],
    "old_dates.csv": b"id,v\n1,1582-10-04\n2,0001-01-01\n3,1899-12-31\n",
    "naïve name, with spaces & 😀 %20 #1 [x].csv": "id,v\nä,ö\n".encode(),
    "nulls.csv": b"id,v\n\x00,\x00\n",
    "surrogate.jsonl": b'{"id": "\\ud83d"}\n{"id": "ok"}\n',
    "no_objects.jsonl": b'[1]\n3\n"x"\nnull\n\n{"id": "ok"}\n',
    "array.json": b'[{"id": "1"}, {"id": "2"}, 3]',
    "no_quote_end.csv": b'id,v\n0,"closed"\n1,"never closed\n2,3\n',
    "unknown.xyz": b"what",
    "lines.txt": b"one\n\ntwo",
}
UNREADABLE = {
    "truncated.jsonl.gz": "cannot be read",
    "truncated.csv.bz2": "cannot be read",
    "renamed_parquet.json": "is parquet",
    "renamed_gzip.csv": "compressed with gzip",
    "fake.parquet": "cannot be read",
    "cut.parquet": "cannot be read",
    "cut.avro": "cannot be read",
    "unknown.xyz": "does not say how to read it",
    "utf16.csv": "encoding: utf-16",
    "utf16.jsonl": "encoding: utf-16",
    "truncated.csv.xz": "cannot be read",
    "truncated.jsonl.zst": "cannot be read",
    "cut_array.json": "is no JSON document",
}


def records_of(name: str, content: bytes) -> int:
    """Records of a file, by a reader that is not ours."""
    return {"fine.orc": 2, "fine.avro": 2}.get(name) or counted(name, content)


def test_no_hostile_file_loses_a_record(spark: SparkSession, lake: Lake, settings: Settings) -> None:
    bench = Bench(spark, lake, settings, limits={"bad_files": 99})
    for name, content in ZOO.items():
        bench.drop(DAYS[0], name, content)
    loaded = bench.run(DAYS[:1])
    assert loaded.failed == {}
    reasons = {Path(bad.file.path).name: bad.reason for bad in loaded.bad_files}
    assert reasons.keys() == UNREADABLE.keys()
    for name, reason in UNREADABLE.items():
        assert reason in reasons[name] and name in reasons[name]
    by_file = "select split_part(_file, '/', -1), count(*) from bronze.invoices group by 1"
    rows: dict[str, int] = dict(lake.connect().execute(by_file).fetchall())
    bad: dict[str, int] = {}
    for name, row, _ in bench.quarantined():
        if row is not None:
            bad[name] = bad.get(name, 0) + 1
    for name, content in ZOO.items():
        if name in reasons:
            assert name not in rows
        else:
            assert rows.get(name, 0) + bad.get(name, 0) == records_of(name, content), name
    assert bad == {
        "mixed_encodings.csv": 1,
        "mixed_encodings.jsonl": 1,
        "ragged.csv": 2,
        "deep.jsonl": 1,
        "surrogate.jsonl": 1,
        "no_objects.jsonl": 4,
        "array.json": 1,
        "windows.csv": 2,
        "ragged_latin.csv": 2,
        "names.jsonl": 1,
        "documents.json": 3,
        "no_quote_end.csv": 1,
    }
    kept = {(name, id_): v for name, id_, v in bench.rows("split_part(_file, '/', -1), id, v")}
    assert kept["numbers.jsonl", "big"] == HUGE
    assert kept["numbers.jsonl", "n"] == "NaN"
    assert len(kept["big_field.csv", "big"]) == len(BIG)
    assert kept["windows.csv", "1"] == 'a\r\nb, "c"'
    assert kept["quoted.tsv", "1"] == "a\tb\nc"
    assert kept["quoted.tsv", "2"] == 'b"c'
    assert kept["quoted_newlines.csv", "1"] == "a\nb\r\nc"
    assert kept["old_dates.csv", "2"] == "0001-01-01"
    [rescued] = (
        bench.lake.connect()
        .execute("select _rescued_data from bronze.invoices where _file like '%duplicate_headers.csv'")
        .fetchall()
    )
    assert json.loads(rescued[0]) == {"v": "3", "ID": "4"}


def test_the_same_zoo_with_inferred_types_loses_nothing_either(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, types="inferred", limits={"bad_files": 99})
    for name, content in ZOO.items():
        if not name.startswith("big_field"):
            bench.drop(DAYS[0], name, content)
    loaded = bench.run(DAYS[:1])
    unread = {Path(bad.file.path).name for bad in loaded.bad_files}
    expected = sum(
        records_of(n, c) for n, c in ZOO.items() if n not in unread and not n.startswith("big_field")
    )
    figures = loaded.days[DAYS[0]]
    assert figures.rows + figures.quarantined_rows == expected
    assert bench.rows("count(*)", "1") == [(figures.rows,)]
