"""Damaged and unusual columns of Parquet, ORC and Avro: the record or file is told, the others load."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq
import pytest

from asgard_assets.ingest.files.readers import columnar
from asgard_assets.ingest.files.source.formats import Parquet
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

FAR = 316_516_530_960_000_000  # a moment of the year 12000, in microseconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_parquet(columns: dict[str, Any], **how: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **how)
    return file.getvalue()


def broken(*values: bytes) -> pa.Array:
    """Text that is not UTF-8, as other writers leave it."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def bench_of(lake: Lake, settings: Settings, files: dict[str, bytes], **how: Any) -> Bench:
    bench = Bench(None, lake, settings, **{"limits": {"bad_files": 9}, **how})
    for name, content in files.items():
        bench.drop(DAYS[0], name, content)
    bench.run(DAYS[:1])
    return bench


def times(*moments: int) -> pa.Array:
    return pa.array(moments, pa.timestamp("us"))


@pytest.mark.parametrize("far", [FAR, -FAR])
def test_a_time_that_python_does_not_have_is_rescued(lake: Lake, settings: Settings, far: int) -> None:
    nested = pa.StructArray.from_arrays([times(0, far)], ["t"])
    listed = pa.array([[0], [far]], pa.list_(pa.timestamp("us")))
    day = pa.array([0, far // 86_400_000_000], pa.int32()).cast(pa.date32())
    content = as_parquet({"id": [1, 2], "t": times(0, far), "day": day, "o": nested, "l": listed})
    bench = bench_of(lake, settings, {"a.parquet": content, "b.csv": b"id\n3\n"}, types="inferred")
    assert bench.rows("id, t, day, o, l") == [
        (1, EPOCH, EPOCH.date(), {"t": EPOCH}, [EPOCH]), (2, None, None, {"t": None}, None), (3, None, None, None, None),
    ]  # fmt: skip
    [(rescued,)] = lake.connect().execute("select _rescued_data from bronze.invoices where id = 2").fetchall()
    assert all(name in rescued for name in ('"t"', '"day"', '"o.t"', '"l"'))


def test_as_text_such_a_time_is_its_text(lake: Lake, settings: Settings) -> None:
    nested = pa.StructArray.from_arrays([times(0, FAR)], ["t"])
    bench = bench_of(lake, settings, {"a.parquet": as_parquet({"t": times(0, FAR), "o": nested})})
    [_, (at, nested_text)] = bench.rows("t, o")
    assert at.startswith("12000-01-") and "12000-01-" in nested_text


@pytest.mark.parametrize("types", ["text", "inferred"])
def test_text_that_is_not_utf8_costs_its_record(lake: Lake, settings: Settings, types: str) -> None:
    flat = as_parquet({"id": [1, 2], "name": broken(b"caf\xe9", b"ok")})
    nested = pa.StructArray.from_arrays([broken(b"ok", b"\xff")], ["name"])
    deep = as_parquet({"id": [3, 4], "o": nested})
    coded = as_parquet({"id": [5, 6], "name": broken(b"a", b"\xc3").dictionary_encode()})
    listed = as_parquet({"id": [7, 8], "l": pa.ListArray.from_arrays([0, 1, 2], broken(b"a", b"\xe9"))})
    files = {"flat.parquet": flat, "nested.parquet": deep, "coded.parquet": coded, "listed.parquet": listed}
    orc = io.BytesIO()
    po.write_table(pa.table({"id": [9, 10], "name": broken(b"\xe9", b"ok")}), orc)
    bench = bench_of(lake, settings, {**files, "a.orc": orc.getvalue(), "good.csv": b"id\n11\n"}, types=types)
    assert {int(i) for (i,) in bench.rows("id")} == {2, 3, 5, 7, 10, 11}
    assert sorted((name, row) for name, row, _ in bench.quarantined()) == [
        ("a.orc", 0), ("coded.parquet", 1), ("flat.parquet", 0), ("listed.parquet", 1), ("nested.parquet", 1),
    ]  # fmt: skip
    assert '{"id": 1, "name": "caf\\\\xe9"}' in {raw for *_, raw in bench.quarantined()}


def test_a_footer_that_promises_more_rows_is_a_file_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_args, **_how: iter(()))
    with pytest.raises(ValueError, match="its footer says 2 rows, 0 were read"):
        list(columnar.parquet(io.BytesIO(as_parquet({"id": [1, 2]})), Parquet(), None))


def unannotated(*values: bytes) -> bytes:
    return as_parquet({"name": pa.array(values, pa.binary())}, store_schema=False)


def test_text_without_an_annotation_is_text(lake: Lake, settings: Settings) -> None:
    bench = bench_of(lake, settings, {"a.parquet": unannotated(b"Zo\xc3\xab", b"Toy")})
    assert bench.rows("name") == [("Zoë",), ("Toy",)]


def test_bytes_stay_bytes(lake: Lake, settings: Settings) -> None:
    arrow = as_parquet({"name": pa.array([b"written by Arrow"], pa.binary())})
    files = {
        "a.parquet": arrow,
        "b.parquet": unannotated(b"\x00\x01"),
        "c.parquet": unannotated(b"ok", b"\xff"),
    }
    bench = bench_of(lake, settings, files, types="inferred")
    assert bench.rows("name") == [(b"written by Arrow",), (b"\x00\x01",), (b"ok",), (b"\xff",)]


def test_binary_as_text_is_a_setting_and_a_column_declared_as_string_is_text(
    lake: Lake, settings: Settings
) -> None:
    option: Any = {"type": "parquet", "binary_as_text": True}
    bench = bench_of(lake, settings, {"a.parquet": unannotated(b"ok", b"\xff")}, format=option)
    assert bench.rows("name") == [("ok",)]
    assert [row for _, row, _ in bench.quarantined()] == [1]


def test_a_column_declared_as_string_is_text_where_it_is_utf8(lake: Lake, settings: Settings) -> None:
    content = as_parquet({"name": pa.array([b"ok", b"\xff"], pa.binary())})
    bench = bench_of(lake, settings, {"a.parquet": content}, columns={"name": {"type": "string"}})
    assert bench.rows("name, _rescued_data") == [("ok", None), (None, '{"name": "/w=="}')]


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2", "xz", "lz4"])
def test_avro_with_any_codec_is_read(lake: Lake, settings: Settings, tmp_path: Path, codec: str) -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "v", "type": "string"}]
    schema: Any = {"type": "record", "name": "r", "fields": fields}
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}], codec=codec)
    bench = bench_of(lake, settings, {"a.avro": (tmp_path / "a.avro").read_bytes()}, types="inferred")
    assert bench.rows("id, v") == [(1, "a"), (2, "b")]
