"""The same three records in every format, and readers that are not ours to count what a file holds."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq

RECORDS = [
    {"id": "1", "name": "Zoë", "note": "plain"},
    {"id": "2", "name": "a,b", "note": 'two\r\nlines and "quotes"'},
    {"id": "3", "name": "", "note": "<x> & \t"},
]
NAMES = list(RECORDS[0])


def as_csv(records: list[dict[str, Any]] = RECORDS, delimiter: str = ",", header: bool = True) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows(([list(records[0])] if header else []) + [list(each.values()) for each in records])
    return text.getvalue().encode()


def as_lines(records: list[dict[str, Any]] = RECORDS) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in records)


def as_parquet(records: list[dict[str, Any]] = RECORDS, **how: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink, **how)
    return sink.getvalue()


def as_orc(records: list[dict[str, Any]] = RECORDS, **how: Any) -> bytes:
    sink = io.BytesIO()
    po.write_table(pa.Table.from_pylist(records), sink, **how)
    return sink.getvalue()


def as_avro(records: list[dict[str, Any]] = RECORDS, codec: str = "null") -> bytes:
    import fastavro

    fields = [{"name": name, "type": "string"} for name in records[0]]
    sink = io.BytesIO()
    fastavro.writer(sink, {"type": "record", "name": "r", "fields": fields}, records, codec=codec)
    return sink.getvalue()


def as_xml(records: list[dict[str, Any]] = RECORDS) -> bytes:
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.Element("orders")
    for record in records:
        row = ElementTree.SubElement(root, "order")
        for name, value in record.items():
            ElementTree.SubElement(row, name).text = value
    # A literal carriage return is no character of XML text: a reader turns it into a newline.
    return ElementTree.tostring(root, "utf-8", xml_declaration=True).replace(b"\r\n", b"&#13;\n")


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    ".lz4": lambda content: pa.Codec("lz4").compress(content, asbytes=True),
}


def unpacked(name: str, content: bytes) -> tuple[str, bytes]:
    """Name and content without the compression, by programs that the loader does not use."""
    if name.endswith(".gz"):
        return name[:-3], gzip.decompress(content)
    if name.endswith(".bz2"):
        return name[:-4], bz2.decompress(content)
    if name.endswith(".xz"):
        return name[:-3], lzma.decompress(content)
    if name.endswith((".zst", ".lz4")):
        kind = {"t": "zstd", "4": "lz4"}[name[-1]]
        return name.rpartition(".")[0], pa.input_stream(pa.BufferReader(content), compression=kind).read()
    return name, content


def counted(name: str, content: bytes) -> int:
    """Records of a file as another reader counts them: Python's csv and json, DuckDB, minidom."""
    name, content = unpacked(name, content)
    match name.rpartition(".")[2]:
        case "csv" | "tsv":
            csv.field_size_limit(1 << 30)
            text = content.decode("latin-1").removeprefix("ï»¿")
            records = csv.reader(
                io.StringIO(text, newline=""), delimiter="\t" if name.endswith("tsv") else ","
            )
            return max(0, sum(1 for record in records if record) - 1)
        case "jsonl" | "ndjson":
            return sum(1 for line in content.split(b"\n") if line.strip())
        case "json":
            found = json.loads(content)
            return len(found) if isinstance(found, list) else 1
        case "txt" | "log":
            return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
        case "parquet":
            return _duckdb_count(content)
        case "xml":
            from xml.dom import minidom

            return len(minidom.parseString(content).getElementsByTagName("order"))
    raise AssertionError(f"nobody counts {name}")


def _duckdb_count(content: bytes) -> int:
    import tempfile

    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.parquet"
        path.write_bytes(content)
        [found] = duckdb.sql(f"select count(*) from read_parquet('{path}')").fetchall()
    return found[0]
