"""Files to records: nothing is dropped, nothing is guessed."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.readers import how_to_read, read_here
from asgard_assets.ingest.files.readers.records import lines_of
from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
from asgard_assets.ingest.files.source.formats import Auto, Csv
from asgard_assets.ingest.files.source.models import TECHNICAL, FileSource

SOURCE = FileSource.model_validate({"name": "s", "path": "s", "ds": {"type": "arrival"}, "description": "d"})


def read(root: Path, name: str, options: Any = None) -> dict[int, dict | str]:
    """Row position -> the record as text, or the raw text of one that could not be read."""
    landing = Landing(str(root))
    file = landing.look(name)
    assert file is not None
    conformer = Conformer(SOURCE, Shape({}), datetime.now(UTC))
    found: dict[int, dict | str] = {}
    for records in read_here(landing, name, how_to_read(name, options or Auto(), "auto")):
        conformed = conformer.conform(records, file, ObservedTypes())
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


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '[{"a": 1},\n{"a": 2},\n{"a"',
        '{"items": [\n{"a": 1}\n,',
        '{\n "a": 1\n}\n{\n "a": 2\n}',
    ],
    ids=["nested without end", "cut array", "cut object", "two objects"],
)
def test_a_document_that_is_none_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match="is no JSON document"):
        read(tmp_path, "a.json")


def test_lines_in_a_json_file_lose_only_the_bad_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}\n{"a": 2}\n{"a": \n')
    assert read(tmp_path, "a.json") == {0: '{"a": "\\xff"}', 1: {"a": "2"}, 2: '{"a": '}


def test_of_a_name_that_comes_twice_the_last_value_counts_and_the_others_are_rescued(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": {"x": 1, "x": 2}, "a": 2, "a": 3}\n{"a": 4}\n')
    landing = Landing(str(tmp_path))
    file = landing.look("a.jsonl")
    assert file is not None
    [records] = read_here(landing, "a.jsonl", how_to_read("a.jsonl", Auto(), "auto"))
    rows = (
        Conformer(SOURCE, Shape({}), datetime.now(UTC))
        .conform(records, file, ObservedTypes())
        .table.to_pylist()
    )
    assert [row["a"] for row in rows] == ["3", "4"]
    assert rows[0]["b"] == '{"x":1,"x":2}'
    assert [row["_rescued_data"] for row in rows] == ['{"a": "1", "a#2": "2"}', None]


def test_names_that_no_table_can_have_cost_no_record_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"\\ud83d": 1}\n{"a\\u0000b": 2}\n')
    assert read(tmp_path, "a.jsonl") == {0: '{"\\ud83d":1}', 1: {"a_b": "2"}}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_utf_16_that_nobody_declared_is_refused_and_says_what_to_set(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(SourceError, match="encoding: utf-16"):
        read(tmp_path, name)


@pytest.mark.slow
def test_utf_16_is_read_where_it_is_declared_with_and_without_its_mark(tmp_path: Path) -> None:
    text = "a,b\n1,é\n2,ragged,3\n" + "3,x\n" * 50_000
    for encoding, mark in (("utf-16", ""), ("utf-16-le", "\ufeff"), ("utf-16-be", "")):
        (tmp_path / "a.csv").write_bytes((mark + text).encode(encoding))
        found = read(tmp_path, "a.csv", Csv(encoding=encoding))
        assert (found[0], found[1], len(found)) == ({"a": "1", "b": "é"}, "2,ragged,3", 50_002)
    with pytest.raises(SourceError, match="encoding: utf-16-be"):
        read(tmp_path, "a.csv")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ragged_record_that_is_no_utf_8_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n\xe9,3,4\n5\n\xe9,6\n7,\xc3\xa9\n")
    assert read(tmp_path, "a.csv") == {
        0: {"a": "1", "b": "2"},
        1: "\\xe9,3,4",
        2: "5",
        3: "\\xe9,6",
        4: {"a": "7", "b": "é"},
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_read_in_another_way_midway_yields_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgard_assets.ingest.files.readers.delimited.BLOCKS", (64, 256, 4096))
    lines = [b"a,b"] + [b"%d,x" % n if n % 7 else b"%d" % n for n in range(100)]
    lines[60] = b"59," + b"long" * 40
    lines[80] = b"79,\xe9,ragged"
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    found = read(tmp_path, "a.csv")
    assert list(found) == list(range(100))
    assert found[59] == {"a": "59", "b": "long" * 40}
    assert found[79] == "79,\\xe9,ragged"
    assert all((found[n] == str(n)) is (n % 7 == 0) for n in range(100) if n not in (59, 79))


def test_text_may_begin_like_a_binary_format(tmp_path: Path) -> None:
    for first in ("ORCID", "ORC", "PAR1", "BZh1"):
        (tmp_path / "a.csv").write_text(f"{first},name\n1,ö\n")
        assert read(tmp_path, "a.csv") == {0: {first: "1", "name": "ö"}}


def test_quotes_may_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('size\tnote\n5"\t"open\n6"\tx\n')
    assert read(tmp_path, "a.tsv", Csv(quote=None)) == {
        0: {"size": '5"', "note": '"open'},
        1: {"size": '6"', "note": "x"},
    }


def test_times_before_1677_survive_the_old_parquet_type(tmp_path: Path) -> None:
    times = [datetime(1500, 1, 1, 1, 2, 3, 4), datetime(1, 1, 1), datetime(9999, 12, 31)]  # noqa: DTZ001
    table = pa.table({"a": pa.array(times, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert [row["a"] for row in read(tmp_path, "a.parquet").values()] == [  # type: ignore[index]
        "1500-01-01 01:02:03.000004",
        "0001-01-01 00:00:00.000000",
        "9999-12-31 00:00:00.000000",
    ]


def test_an_unknown_encoding_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="utf-99"):
        Csv(encoding="utf-99")


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a", b"a\nbc\r\n\n\nlong line\rof one", b"ab\n\xff\n", b"abcdefghi\n"]
)
def test_lines_are_the_same_whatever_the_blocks(content: bytes, block_bytes: int) -> None:
    assert list(lines_of(io.BytesIO(content), block_bytes)) == io.BytesIO(content).readlines()


@pytest.mark.parametrize("block_bytes", [1, 3, 4, 9])
def test_a_line_that_is_too_long_is_refused_wherever_its_blocks_end(block_bytes: int) -> None:
    assert list(lines_of(io.BytesIO(b"a\n" + b"b" * 8 + b"\nc"), block_bytes, 9))[1] == b"b" * 8 + b"\n"
    for content in (b"a\n" + b"b" * 9 + b"\nc", b"b" * 10):
        with pytest.raises(ValueError, match="longer than"):
            list(lines_of(io.BytesIO(content), block_bytes, 9))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('{"a": {"b": 1, "b": 2}}', '{"b":1,"b":2}'),
        ('{"a": {"b": 1, "b" : 2}, "c": "\\":"}', '{"b":1,"b":2}'),
        ('{"c": {"b": 1}, "a": [{"b": 1}, {"b": 2, "b": 3}]}', '[{"b":1},{"b":2,"b":3}]'),
        ('{"a": {"b": {"c": "\\":", "d": [[{"e": 1}]]}}}', '{"b":{"c":"\\":","d":[[{"e":1}]]}}'),
    ],
)
def test_a_name_that_comes_twice_within_a_record_is_seen_wherever_it_stands(
    tmp_path: Path, line: str, value: str
) -> None:
    """Before it and behind it stand records whose names are told apart by a quicker look."""
    (tmp_path / "a.jsonl").write_text("\n".join(['{"a": {"b": 1}}', line, '{"a": 1, "c": {}}', line]))
    found = read(tmp_path, "a.jsonl")
    assert [row["a"] for row in found.values() if isinstance(row, dict)] == ['{"b":1}', value, "1", value]
