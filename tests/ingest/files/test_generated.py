"""Tables made at random, in each format, some records damaged and some files cut: all is loaded or in quarantine, and what
is loaded is what was written."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq
import pytest

from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.ingest.files.test_sent import workbook

Record = dict[str, Any]
SIGNS = [
    "a",
    "Z",
    "7",
    " ",
    '"',
    "'",
    ",",
    ";",
    "\t",
    "\n",
    "\r\n",
    "\\",
    "ß",
    "é",
    "数",
    "😀",
    "\u2028",
    "\ufffd",
    "<",
    "&",
    "NULL",
    "-0",
    "1e5",
    "{",
    "]",
    "#",
]
SCHEMA = pa.schema([
    ("id", pa.int64()), ("n", pa.float64()), ("m", pa.decimal128(30, 9)), ("s", pa.string()), ("b", pa.bool_()), ("d", pa.date32()), ("t", pa.timestamp("us", "UTC")),
])  # fmt: skip
FILES, RECORDS = 12, 40


def made(chance: random.Random) -> Record:
    """A record with a value of each type, at the ends of its range more often than not; nulls anywhere but in the id."""

    def one_of(*values: Any) -> Any:
        return chance.choice([None, *values])

    text = "".join(chance.choices(SIGNS, k=chance.randrange(1, 9)))
    day = date(1, 1, 1) + timedelta(days=chance.randrange(3_652_058))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(-(10**16), 10**16))
    return {
        "id": chance.choice([chance.randrange(-9, 9), 2**63 - 1, -(2**63), chance.getrandbits(53)]),
        "n": one_of(chance.random(), -0.0, 5e-324, 1.7976931348623157e308, chance.uniform(-1e9, 1e9)),
        "m": one_of(Decimal(chance.randrange(-(10**29), 10**29)).scaleb(-9), Decimal("0.000000001")),
        "s": one_of(text, text.strip() or "x"),
        "b": one_of(True, False),
        "d": one_of(day, date(1582, 10, 4), date(9999, 12, 31)),
        "t": one_of(moment, datetime(2026, 3, 29, 1, 59, 59, 999_999, UTC)),
    }


def plain(record: Record) -> Record:
    """The record as JSON can say it."""
    return {
        name: value if value is None or isinstance(value, (int, float, str)) else str(value)
        for name, value in record.items()
    }


def csv_line(record: Record) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(
        "" if v is None else v for v in record.values()
    )
    return text.getvalue().encode()


def json_line(record: Record) -> bytes:
    return json.dumps(plain(record), ensure_ascii=record["b"] is True).encode() + b"\n"


CSV_DAMAGE: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line[:-1] + b',"one more"\n',
    lambda line: line[: line.index(b",")] + b"\n",
    lambda line: b'"x"y' + line[line.index(b",") :],
    lambda line: b'"\xff' + line[1:],
)
JSON_DAMAGE: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line[:-3] + b"\n",
    lambda line: line[:-1] + b" x\n",
    lambda line: b"[" + line[:-1] + b"]\n",
    lambda line: line.replace(b'"id"', b"'id'", 1),
    lambda line: line.replace(b'"id"', b'"\xff"', 1),
    lambda line: line.replace(b'"id": ', b'"id": 0', 1).replace(b"0-", b"00", 1),
    lambda _: b'"text"\n',
)


class Generated:
    """Files of one format, each with what must be loaded of it and how many records must not."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.good, self.bad = chance, dict[str, list[Record]](), Counter[str]()
        self.contents, self.cut = dict[str, bytes](), set[str]()

    def lines(
        self,
        name: str,
        header: bytes,
        line: Callable[[Record], bytes],
        damage: Sequence[Callable[[bytes], bytes]],
    ) -> None:
        content, self.good[name] = header, []
        for _ in range(RECORDS):
            record = made(self.chance)
            if self.chance.random() < 0.2:
                content += self.chance.choice(damage)(line(record))
                self.bad[name] += 1
            else:
                content += line(record)
                self.good[name].append(record)
        self.contents[name] = content

    def whole(self, name: str, write: Callable[[list[Record]], bytes]) -> None:
        records = [made(self.chance) for _ in range(RECORDS)]
        content = write(records)
        if self.chance.random() < 0.25:
            self.contents[name] = content[: self.chance.randrange(len(content) // 2, len(content) - 12)]
            self.cut.add(name)
        else:
            self.contents[name], self.good[name] = content, records

    def load(self, lake: Lake, settings: Settings, **changes: Any) -> dict[str, list[Record]]:
        """The rows by file, after everything has been accounted for."""
        bench = Bench(None, lake, settings, limits={"bad_files": 99, "bad_share": 1}, **changes)
        for name, content in self.contents.items():
            bench.drop(DAYS[0], name, content)
        loaded = bench.run(DAYS[:1])
        assert {Path(bad.file.path).name for bad in loaded.bad_files} == self.cut
        assert Counter(name for name, row, _ in bench.quarantined() if row is not None) == self.bad
        found: dict[str, list[Record]] = {name: [] for name in self.good}
        for name, rescued, *values in bench.rows(
            f"split_part(_file, '/', -1), _rescued_data, {', '.join(SCHEMA.names)}"
        ):
            assert rescued is None, (name, rescued)
            found[name].append(dict(zip(SCHEMA.names, values, strict=True)))
        return found


def as_parquet(records: list[Record]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), sink, row_group_size=7, compression="zstd")
    return sink.getvalue()


def near(moment: datetime | None) -> datetime | None:
    """Within the nanoseconds that Arrow's reader of ORC knows: a file with others is refused as a whole."""
    return moment and moment.replace(year=1700 + moment.year % 500, day=min(moment.day, 28))


def as_orc(records: list[Record]) -> bytes:
    for record in records:
        record["t"] = near(record["t"])
    sink = io.BytesIO()
    po.write_table(pa.Table.from_pylist(records, SCHEMA), sink)
    return sink.getvalue()


def as_avro(records: list[Record]) -> bytes:
    import fastavro

    kinds: dict[str, Any] = {
        "id": "long", "n": "double", "m": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 9}, "s": "string",
        "b": "boolean", "d": {"type": "int", "logicalType": "date"}, "t": {"type": "long", "logicalType": "timestamp-micros"},
    }  # fmt: skip
    fields = [{"name": name, "type": ["null", kind]} for name, kind in kinds.items()]
    sink = io.BytesIO()
    fastavro.writer(
        sink,
        fastavro.parse_schema({"type": "record", "name": "r", "fields": fields}),
        records,
        codec="deflate",
    )
    return sink.getvalue()


@pytest.mark.parametrize(
    ("extension", "write"), [("parquet", as_parquet), ("orc", as_orc), ("avro", as_avro)]
)
def test_generated_tables_of_typed_formats(
    lake: Lake,
    settings: Settings,
    chance: random.Random,
    extension: str,
    write: Callable[[list[Record]], bytes],
) -> None:
    files = Generated(chance)
    for number in range(FILES):
        files.whole(f"{number:02}.{extension}", write)
    found = files.load(lake, settings, types="inferred")
    for name, records in files.good.items():
        assert found[name] == records, name


def test_generated_lines_of_json(lake: Lake, settings: Settings, chance: random.Random) -> None:
    files = Generated(chance)
    for number in range(FILES):
        files.lines(f"{number:02}.jsonl", b"", json_line, JSON_DAMAGE)
    found = files.load(lake, settings, types="inferred")
    for name, records in files.good.items():
        assert [(row["id"], row["n"], row["s"], row["b"]) for row in found[name]] == [
            (record["id"], record["n"], record["s"], record["b"]) for record in records
        ], name
        assert [tuple(None if row[c] is None else str(row[c]) for c in "mdt") for row in found[name]] == [
            tuple(None if record[c] is None else str(record[c]) for c in "mdt") for record in records
        ], name


def test_generated_csv(lake: Lake, settings: Settings, chance: random.Random) -> None:
    files = Generated(chance)
    for number in range(FILES):
        files.lines(f"{number:02}.csv", ",".join(SCHEMA.names).encode() + b"\n", csv_line, CSV_DAMAGE)
    found = files.load(lake, settings)
    for name, records in files.good.items():
        assert [[row[c] or "" for c in row] for row in found[name]] == [
            ["" if value is None else str(value) for value in record.values()] for record in records
        ], name


def cells(record: Record) -> list[Any]:
    """What a workbook holds of a record: doubles and text. Space around a text is not kept without a mark for it."""
    text = (record["s"] or "").replace("\r", "").strip()
    return [record["id"] % 2**53, record["n"], None, text or None]


def as_workbook(records: list[Record]) -> bytes:
    rows = [
        [
            cell.replace("&", "&amp;").replace("<", "&lt;") if isinstance(cell, str) else cell
            for cell in cells(r)
        ]
        for r in records
    ]
    return workbook({"Data": [[*SCHEMA.names], *(row + [None] * 3 for row in rows)]})


def test_generated_workbooks(lake: Lake, settings: Settings, chance: random.Random) -> None:
    files = Generated(chance)
    for number in range(FILES):
        files.whole(f"{number:02}.xlsx", as_workbook)
    found = files.load(
        lake, settings, types="inferred", columns={name: {"type": "string"} for name in "mbdts"}
    )
    for name, records in files.good.items():
        assert [[row[c] for c in ("id", "n", "m", "s")] for row in found[name]] == [*map(cells, records)], (
            name
        )
