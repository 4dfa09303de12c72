"""Bytes that end the process that reads them cost their file, and no other."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.plan.isolated import Limits, is_binary, run_isolated
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
