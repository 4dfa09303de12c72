"""Files to records: nothing is dropped, nothing is guessed."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.conform import Conformer, Seen, Shape
from asgard_assets.ingest.files.formats import Auto, Csv
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.models import TECHNICAL, FileSource
from asgard_assets.ingest.files.readers import how_to_read, read_file

SOURCE = FileSource.model_validate({"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d"})


def read(root: Path, name: str, options: Any = None) -> dict[int, dict | str]:
    """Row position -> the record as text, or the raw text of one that could not be read."""
    landing = Landing(str(root))
    file = landing.look(name)
    assert file is not None
    conformer = Conformer(SOURCE, Shape({}), datetime.now(UTC))
    found: dict[int, dict | str] = {}
    for records in read_file(landing, name, how_to_read(name, options or Auto(), "auto")):
        conformed = conformer.conform(records, file, Seen())
        for row in conformed.table.to_pylist():
            assert row["_row"] not in found
            found[row["_row"]] = {n: v for n, v in row.items() if n not in TECHNICAL}
        for bad in conformed.bad:
            assert bad.row not in found
            found[bad.row] = bad.raw
    return dict(sorted(found.items()))


def test_a_ragged_csv_record_is_rescued_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,2\n3\n\n4,5\n6,7,8\n9,"x\ny"\n')
    assert read(tmp_path, "a.csv") == {
        0: {"a": "1", "b": "2"},
        1: "3",
        2: {"a": "4", "b": "5"},
        3: "6,7,8",
        4: {"a": "9", "b": "x\ny"},
    }


@pytest.mark.parametrize("before", ["\n\n", "\r\n", ""])
def test_blank_lines_before_the_header_do_not_move_rows(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"{before}a,b\n1,2\n3\n4,5".encode())
    assert read(tmp_path, "a.csv") == {0: {"a": "1", "b": "2"}, 1: "3", 2: {"a": "4", "b": "5"}}


def test_an_unquoted_empty_field_is_null_and_a_quoted_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('a\tb\n\t""\n')
    assert read(tmp_path, "a.tsv") == {0: {"a": None, "b": ""}}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,b", b"a,b\n", b"\xef\xbb\xbfa,b\n"])
def test_a_csv_without_records_has_no_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert read(tmp_path, "a.csv") == {}


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert read(tmp_path, "a.csv") == {0: {"a": "1", "b": "2"}}
    assert read(tmp_path, "b.jsonl") == {0: {"a": "1"}}


def test_a_header_longer_than_the_first_read_and_big_fields_survive(tmp_path: Path) -> None:
    names = [f"column_{i}_{'x' * 50}" for i in range(3000)]
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join(["y" * 3000] * 3000) + "\n")
    assert read(tmp_path, "a.csv") == {0: dict.fromkeys(names, "y" * 3000)}


def test_json_numbers_keep_every_digit_and_nested_values_stay_json(tmp_path: Path) -> None:
    line = (
        '{"n": 12.50, "big": 123456789012345678901234567890, "t": true, "x": null, "o": {"é": [1.10, "s"]}}'
    )
    (tmp_path / "a.jsonl").write_text(line + "\n")
    assert read(tmp_path, "a.jsonl")[0] == {
        "n": "12.50",
        "big": "123456789012345678901234567890",
        "t": "true",
        "x": None,
        "o": '{"é":[1.10,"s"]}',
    }


def test_a_malformed_json_line_is_rescued_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": \n\n[1]\n{"a": "\xff"}\n{"a": 2}')
    assert read(tmp_path, "a.jsonl") == {
        0: {"a": "1"},
        1: '{"a": ',
        3: "[1]",
        4: '{"a": "\\xff"}',
        5: {"a": "2"},
    }


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}\n', '[\n{"a": 1},\n{"a": 2}\n]']
)
def test_a_json_document_may_be_an_array_or_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read(tmp_path, "a.json") == {0: {"a": "1"}, 1: {"a": "2"}}


def test_parquet_becomes_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, None], "l": [[1], None], "b": [b"\xff", None]}), tmp_path / "a.parquet")
    assert read(tmp_path, "a.parquet") == {
        0: {"a": "1", "l": "[1]", "b": "/w=="},
        1: {"a": None, "l": None, "b": None},
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.csv.gz", gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 9000)[:-20]),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9000)[:-20]),
        ("plain.csv.gz", b"a,b\n1,2\n"),
        ("fake.parquet", b'{"a": 1}'),
        ("what.xyz", b"a"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        read(tmp_path, name)


def test_encoding_delimiter_and_null_values_are_declared(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a;b\n\xe9;-\n".encode("latin-1"))
    options = Csv(delimiter=";", encoding="latin-1", null_values=("-",))
    assert read(tmp_path, "a.csv", options) == {0: {"a": "é", "b": None}}


HALF = '{"a": "\\ud83d"}'  # half of a surrogate pair: JSON may escape it, UTF-8 cannot hold it
DEEP = '{"a": ' + "[" * 800 + "]" * 800 + "}"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_record_that_no_text_column_can_hold_is_rescued_alone(tmp_path: Path, name: str) -> None:
    records = ['{"a": 1}', HALF, '{"a": 2}']
    (tmp_path / name).write_text("\n".join(records) if name == "a.jsonl" else f"[{','.join(records)}]")
    found = read(tmp_path, name)
    assert (found[0], found[2]) == ({"a": "1"}, {"a": "2"})
    assert "ud83d" in str(found[1])


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_deeply_nested_record_does_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"a": 1}\n' + DEEP + "\n")
    assert read(tmp_path, name)[0] == {"a": "1"}


def test_a_document_nested_without_end_is_a_record_that_is_rescued(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    assert read(tmp_path, "a.json") == {0: "[" * 100_000}


def test_an_unknown_encoding_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="utf-99"):
        Csv(encoding="utf-99")
