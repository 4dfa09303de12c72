"""Damaged files, thousands of them: each is read or refused with a sentence, and no record goes missing."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.readers import how_to_read, read_here
from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
from asgard_assets.ingest.files.source.formats import Auto, Text, Xml
from asgard_assets.ingest.files.source.models import FileSource
from tests.ingest.files.samples import (
    COMPRESS,
    RECORDS,
    as_avro,
    as_csv,
    as_lines,
    as_orc,
    as_parquet,
    as_xml,
    counted,
)

MANY = RECORDS * 20
GOOD: dict[str, bytes] = {
    "a.csv": as_csv(),
    "a.tsv": as_csv(delimiter="\t"),
    "a.jsonl": as_lines(),
    "a.json": b"[" + b",\n".join(as_lines().splitlines()) + b"]",
    "a.parquet": as_parquet(MANY, row_group_size=20),
    "a.orc": as_orc(MANY, compression="zlib"),
    "a.avro": as_avro(MANY, "deflate"),
    "a.xml": as_xml(),
    "a.txt": as_lines(),
    **{f"a.jsonl{ending}": pack(as_lines(MANY)) for ending, pack in COMPRESS.items()},
}
LINES = (".csv", ".tsv", ".jsonl", ".txt")
"""Formats in which an accident costs records, not the file."""


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one to three accidents."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found) + 1)
        end = min(len(found), at + chance.randint(1, 8))
        match chance.randrange(5):
            case 0:
                del found[at:]
            case 1:
                del found[at:end]
            case 2:
                found[at:end] = chance.randbytes(end - at)
            case 3:
                found[at:at] = chance.choice(
                    [b'"', b"\n", b"\r\n", b"\0", b"\xe9", b"\xff\xfe", b"{", b"]", b","]
                )
            case _:
                found[at:at] = found[at:end]
    return bytes(found)


def positions(root: Path, name: str, types: str = "text") -> tuple[list[int], list[int]]:
    """Positions of the rows and of what went to quarantine."""
    fields = {"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d", "types": types}
    landing, source = Landing(str(root)), FileSource.model_validate(fields)
    file = landing.look(name)
    assert file is not None
    conformer, rows, bad = Conformer(source, Shape({}), datetime.now(UTC)), list[int](), list[int]()
    declared: Any = Xml(row_tag="order") if name.endswith(".xml") else Auto()
    for records in read_here(landing, name, how_to_read(name, declared, "auto", types == "text")):
        found = conformer.conform(records, file, ObservedTypes())
        rows += found.table["_row"].to_pylist()
        bad += [each.row for each in found.bad]
    return rows, bad


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("types", ["text", "inferred"])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_damaged_file_is_read_or_refused_and_no_record_goes_missing(
    tmp_path: Path, name: str, types: str
) -> None:
    chance = random.Random(f"{name} {types}")
    path, refused = tmp_path / name, 0
    for _ in range(60):
        content = damaged(GOOD[name], chance)
        path.write_bytes(content)
        try:
            rows, bad = positions(tmp_path, name, types)
        except SourceError as error:
            assert name in str(error)
            refused += 1
            continue
        found = sorted(rows + bad)
        assert len(found) == len(set(found)), content
        if name.endswith(LINES):
            assert len(found) == counted(name, content), content
    assert refused < 60 if name.endswith(LINES) else refused > 0  # else the damage showed nothing


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_lines_in_any_encoding_keep_their_number(tmp_path: Path, name: str) -> None:
    from asgard_assets.ingest.files.source.formats import Json

    for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp037", "shift_jis"):
        (tmp_path / name).write_bytes('{"a": "x"}\r\n{"a": "y"}\n\n{"a": "z"}'.encode(encoding))
        how = Text(encoding=encoding) if name == "a.txt" else Json(encoding=encoding)
        read = list(read_here(Landing(str(tmp_path)), name, how_to_read(name, how, "auto")))
        assert sum(len(each.rows) for each in read) == (4 if name == "a.txt" else 3), encoding
        assert not any(each.bad for each in read)
