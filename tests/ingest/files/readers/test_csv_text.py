"""Delimited text that a strict reader refuses, and lines that are no records."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.readers.csv_text import CsvText
from asgard_assets.ingest.files.source.formats import Csv
from tests.ingest.files.readers.test_records import read


def csv_of(root: Path, content: str | bytes, **options: Any) -> dict[int, dict | str]:
    (root / "a.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return read(root, "a.csv", Csv(**options) if options else None)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ('1,"open\n2,b\n3,c\n4,"d"\n5,e\n', {0: '1,"open\n2,b\n3,c\n4,"d"'}),
        ('1,"a"b\n5,e\n', {0: '1,"a"b'}),
        ('1,"a" \n5,e\n', {0: '1,"a" '}),
        ('"1"x,a\r\n5,e\r\n', {0: '"1"x,a'}),
        ('4,5"\n1,"a"b,c"\n5,e', {1: '1,"a"b,c"'}),
        ('4,"say ""hi"""\n1,"say "hi""\n5,e\n', {1: '1,"say "hi""'}),
        ('1,"x\ny"z\n4,"""a"""b\n5,e\n', {0: '1,"x\ny"z', 1: '4,"""a"""b'}),
        ('1,"caf\u00e9"\u00e9\n5,e\n', {0: '1,"caf\u00e9"\u00e9'}),
    ],
)
def test_text_behind_a_closing_quote_costs_its_record(
    tmp_path: Path, content: str, refused: dict[int, str]
) -> None:
    found = csv_of(tmp_path, "id,v\n" + content)
    assert {row: raw for row, raw in found.items() if isinstance(raw, str)} == refused
    assert found[max(found)] == {"id": "5", "v": "e"}


@pytest.mark.parametrize(
    "content", ['1,5"\n', '1,a "b" c\n', '1,"a\nb"\n', '1,""\n', '"1","a ""b"""\n', "1,'a\n"]
)
def test_quotes_that_a_strict_reader_takes_are_read_as_it_does(tmp_path: Path, content: str) -> None:
    [record] = csv.reader(io.StringIO(content), strict=True)
    assert csv_of(tmp_path, "id,v\n" + content) == {0: dict(zip(("id", "v"), record, strict=True))}


def test_a_header_with_text_behind_a_quote_is_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its header has text behind a closing quote"):
        csv_of(tmp_path, 'id,"v"x\n1,2\n')


def strictly(text: str) -> list[list[str] | None]:
    """Records as a machine of four states reads them; None for one with text behind a closing quote."""
    found, record, field, state, odd = list[list[str] | None](), list[str](), "", "start", False
    for char in [*text, ""]:
        if state == "quoted" and char:
            state, field = ("closed", field) if char == '"' else ("quoted", field + char)
        elif state == "closed" and char == '"':
            state, field = "quoted", field + '"'
        elif char == "," or char in "\n":
            record, field, state = [*record, field], "", "start"
            if char != ",":
                if record != [""]:
                    found.append(None if odd else record)
                record, odd = [], False
        elif state == "start" and char == '"':
            state = "quoted"
        else:
            odd = odd or state in ("closed", "behind")
            state = "behind" if odd else "plain"
            field += char
    return found


@pytest.mark.parametrize("seed", range(20))
def test_what_is_refused_is_what_a_machine_of_states_refuses(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    text = (
        "".join(dice.choices('ab",\n', (6, 6, dice.choice((1, 3)), 3, 2), k=400)).replace('""', '"x')
        + '\n"",'
    )
    records = strictly(text + "\n")
    found = csv_of(tmp_path, "p,q\n" + text + "\n")
    del found[max(found)]  # its quote may be one that nothing closes
    refused = {row for row, record in enumerate(records) if record is None and row in found}
    assert {
        row for row, raw in found.items() if isinstance(raw, str) and len(records[row] or [""] * 2) == 2
    } == refused
    for row, record in enumerate(records):
        if record is not None and len(record) == 2 and row in found:
            values = list(found[row].values())  # pyright: ignore[reportAttributeAccessIssue]
            assert [value or "" for value in values] == record


def test_a_long_text_is_handed_on_in_pieces_as_it_is() -> None:
    text = b"id,v\n" + b"".join(b'%d,"x\n""y"""\n' % i for i in range(200_000))
    stream = CsvText(io.BytesIO(text), ",", Csv())
    assert b"".join(iter(lambda: stream.read(1 << 20), b"")) == text


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    text = 'Report: sales\nCreated\n\n# one\nid,v\n1,"a\n# not one"\n# two, "\n2,b\nTOTAL,2\n\n'
    found = csv_of(tmp_path, text, skip_lines=3, skip_footer=1, comment="#")
    assert found == {0: {"id": "1", "v": "a\n# not one"}, 1: {"id": "2", "v": "b"}}


@pytest.mark.parametrize("start", ["sep=;\n", "\ufeffsep=;\r\n", '"sep=;"\n'])
def test_the_line_in_which_excel_says_its_delimiter(tmp_path: Path, start: str) -> None:
    assert csv_of(tmp_path, start + "id;v\n3;c\n") == {0: {"id": "3", "v": "c"}}


@pytest.mark.parametrize("other", [";", "\t", "|"])
def test_another_delimiter_is_named(tmp_path: Path, other: str) -> None:
    with pytest.raises(SourceError, match="is one column, .* set `delimiter: "):
        csv_of(tmp_path, other.join(("id", "v", "w")) + "\n" + other.join(("2", "b,c", "y")) + "\n")


def test_a_preamble_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="from the 4th on have several; .* set `skip_lines: 3`"):
        csv_of(tmp_path, "Report: sales\nCreated 2026-10-05\n\nid,v\n1,a\n")


def test_one_column_alone_is_read(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "name;x\nJohn\nJane\n") == {0: {"name_x": "John"}, 1: {"name_x": "Jane"}}
    assert csv_of(tmp_path, "word\nword\n") == {0: {"word": "word"}}


def test_the_header_again_is_no_record(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "id,v\n1,2\nid,v\n3,4\nid,5\n") == {
        0: {"id": "1", "v": "2"}, 1: "id,v", 2: {"id": "3", "v": "4"}, 3: {"id": "id", "v": "5"},
    }  # fmt: skip


@pytest.mark.parametrize(("encoding", "header"), [("utf8", b"id,gr\xf6\xdfe\n"), ("cp1252", b"id,\x81\n")])
def test_a_header_in_another_encoding_is_a_bad_file(tmp_path: Path, encoding: str, header: bytes) -> None:
    with pytest.raises(SourceError, match="its header holds bytes that are not"):
        csv_of(tmp_path, header + b"1,2\n", encoding=encoding)


def test_a_byte_that_the_encoding_lacks_costs_its_record(tmp_path: Path) -> None:
    assert csv_of(tmp_path, b"id,v\n1,\x81\n2,\xe9\n", encoding="cp1252") == {
        0: "1,\\x81",
        1: {"id": "2", "v": "\u00e9"},
    }
