"""Bytes that end the process that reads them cost their file, and no other."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.readers import how_to_read, read_file, read_here
from asgard_assets.ingest.files.readers.apart import unpacked
from asgard_assets.ingest.files.readers.isolated import Limits, is_binary, run_isolated
from asgard_assets.ingest.files.source.formats import Auto
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench


def work(texts: Iterable[str], context: str) -> Iterator[str]:
    """Items that say what becomes of the process."""
    for text in texts:
        print("what a library prints is no line")
        if text == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if text == "hangs":
            time.sleep(3600)
        while text == "turns":
            pass
        yield f"{context} {text}"
    yield "at the end"


def lost(text: str, reason: str) -> str:
    return f"lost {text}: {reason}"


def test_what_ends_the_process_is_named_and_the_others_are_read() -> None:
    items = [("one", 1), ("dies", 1), ("two", 1)]
    assert list(run_isolated(work, items, "read", lost)) == [
        "read one", "read two", "at the end", "lost dies: ended the process that read it (SIGSEGV)",
    ]  # fmt: skip


def test_what_never_ends_is_given_up() -> None:
    limits = Limits(seconds=1)
    [line] = run_isolated(work, [("hangs", 0)], "read", lost, limits)
    assert line.startswith("lost hangs: was still being read after")


def test_what_turns_and_turns_is_given_up() -> None:
    lines = list(run_isolated(work, [("turns", 0)], "read", lost, Limits(cpu_seconds=1)))
    assert lines == ["lost turns: took too much time to be read"]


def varint(n: int) -> bytes:
    n, out = (n << 1) ^ (n >> 63), b""
    while n & ~0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def avro(kind: Any, count: int, block: bytes) -> bytes:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]}
    meta = {b"avro.schema": json.dumps(schema).encode(), b"avro.codec": b"null"}
    told = b"".join(varint(len(k)) + k + varint(len(v)) + v for k, v in meta.items())
    sync = b"0123456789abcdef"
    return (
        b"Obj\x01"
        + varint(len(meta))
        + told
        + b"\0"
        + sync
        + varint(count)
        + varint(len(block))
        + block
        + sync
    )


@pytest.mark.parametrize("types", ["text", "inferred"])
def test_a_schema_that_holds_itself_costs_its_file(lake: Lake, settings: Settings, types: str) -> None:
    bench = Bench(None, lake, settings, types=types, limits={"bad_files": 1})
    bench.drop(DAYS[0], "evil.avro", avro("r", 1, b"\0" * 40))
    bench.drop(DAYS[0], "good.csv", "a\n1\n")
    [bad] = bench.run(DAYS[:1]).bad_files
    assert "ended the process that read it" in bad.reason
    assert bench.rows("count(*)", "1") == [(1,)]


def test_what_is_read_apart_is_what_libraries_in_c_read() -> None:
    source = FileSource.model_validate(
        {"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d"}
    )
    names = ["a.csv", "a.jsonl.gz", "a.parquet", "A.ORC", "a.avro.gz", "a.xlsx", "a.zip", "a.unknown"]
    found = [name for name in names if is_binary(source, File(name, 1, 0))]
    assert found == ["a.parquet", "A.ORC", "a.avro.gz", "a.xlsx", "a.zip"]


def test_what_is_handed_over_is_what_was_read(tmp_path: Path) -> None:
    """Every kind of value that readers make, from formats that are read apart."""
    when, ten = datetime(2026, 1, 1, tzinfo=UTC), range(10)
    table = pa.table(
        {
            "l": [[i, None] for i in ten],
            "s": [{"p": i, "q": str(i)} for i in ten],
            "t": [when] * 10,
            "d": [Decimal("1.23")] * 10,
            "b": [b"ab"] * 10,
            "m": pa.array([[("k", 1)]] * 10, pa.map_(pa.string(), pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    orc.write_table(table, tmp_path / "a.orc")
    fields = {"d": {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}, "u": {"type": "string", "logicalType": "uuid"}, "t": {"type": "long", "logicalType": "timestamp-micros"}, "m": {"type": "map", "values": "bytes"}}  # fmt: skip
    rows = [{"d": Decimal("1.25"), "u": str(uuid.UUID(int=n)), "t": when, "m": {"k": b"v"}} for n in ten]
    with (tmp_path / "a.avro").open("wb") as file:
        parts = [{"name": name, "type": kind} for name, kind in fields.items()]
        fastavro.writer(file, {"type": "record", "name": "r", "fields": parts}, rows)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.csv", "a,b\n1,2\n3\n")
    landing = Landing(str(tmp_path))
    for name in ("a.parquet", "a.orc", "a.avro", "a.zip"):
        how = how_to_read(name, Auto(), "auto")
        apart, here = list(read_file(landing, name, how)), list(read_here(landing, name, how))
        assert [r.columns for r in apart] == [r.columns for r in here]
        assert [(list(r.rows), r.bad, r.aside, r.member, r.text) for r in apart] == [
            (list(r.rows), r.bad, r.aside, r.member, r.text) for r in here
        ]
        assert sum(len(r.rows) for r in apart) == (10 if name != "a.zip" else 1)


def test_who_reads_a_file_outside_a_load_is_not_ended_by_it(tmp_path: Path) -> None:
    """A preview, an estimate: the reader of a format in C ends its own process, and its file is named."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    how = how_to_read("a.parquet", Auto(), "auto")
    with pytest.raises(SourceError, match=r"a\.parquet cannot be read: it ended the process.*SIGSEGV"):
        list(read_file(Crash(str(tmp_path)), "a.parquet", how))


class Crash(Landing):
    """A landing whose bytes are those that end a process."""

    def first_bytes(self, *_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo taken over",)


@pytest.mark.parametrize("what", [Evil(), pa.memory_map, pq.read_table], ids=["a call", "arrow", "parquet"])
def test_a_process_that_was_taken_over_makes_the_reader_call_nothing(what: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is not what a reader hands over"):
        unpacked(base64.b64encode(pickle.dumps(what)).decode())
