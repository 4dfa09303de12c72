"""What people send every week, and what becomes of it: workbooks, archives, local numbers, folders as columns."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.readers import how_to_read, read_file
from asgard_assets.ingest.files.readers.json_text import as_text
from asgard_assets.ingest.files.shape.fitting import fit, infer
from asgard_assets.ingest.files.shape.folders import folder_values
from asgard_assets.ingest.files.shape.local_text import localised
from asgard_assets.ingest.files.source.formats import Auto, Csv
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.files.source.types import type_of_text
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.ingest.files.readers.test_records import read

SOURCE: dict[str, Any] = {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"}


def workbook(sheets: dict[str, list[list[Any]]]) -> bytes:
    """A workbook as Excel writes it, by hand: numbers and text alone."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as parts:
        ids = range(1, len(sheets) + 1)
        types = "".join(
            f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="application/vnd.openxmlformats-'
            'officedocument.spreadsheetml.worksheet+xml"/>'
            for i in ids
        )
        parts.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/xl/workbook.xml" '
            f'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{types}</Types>',
        )
        relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        package = "http://schemas.openxmlformats.org/package/2006/relationships"
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        parts.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        names = "".join(
            f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, n in zip(ids, sheets, strict=True)
        )
        parts.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets>{names}</sheets></workbook>',
        )
        targets = "".join(
            f'<Relationship Id="r{i}" Type="{relation}/worksheet" Target="worksheets/sheet{i}.xml"/>'
            for i in ids
        )
        parts.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{targets}</Relationships>'
        )
        for i, rows in zip(ids, sheets.values(), strict=True):
            lines = "".join(
                f'<row r="{r}">'
                + "".join(_cell(chr(64 + c), r, v) for c, v in enumerate(row, 1) if v is not None)
                + "</row>"
                for r, row in enumerate(rows, 1)
            )
            parts.writestr(
                f"xl/worksheets/sheet{i}.xml",
                f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
            )
    return file.getvalue()


def _cell(column: str, row: int, value: Any) -> str:
    if isinstance(value, str):
        return f'<c r="{column}{row}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{column}{row}"><v>{value}</v></c>'


BOOK = workbook(
    {
        "Sales": [["id", "name"], [1, "x"], [None, None], [2.5, "007"], [3, "y", "beside"]],
        "Other": [["Report"], [], [None, "k", "v"], [None, 1, "a"], [None, 2, "b"], [None, "sum", 3]],
    }
)


def test_a_sheet_is_read_with_its_types(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(BOOK)
    assert read(tmp_path, "a.xlsx") == {
        0: {"id": "1", "name": "x"}, 2: {"id": "2.5", "name": "007"}, 3: "3,y,beside",
    }  # fmt: skip


def test_sheet_range_and_header_row_are_settings(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(BOOK)
    option: Any = FileSource.model_validate(
        SOURCE | {"format": {"type": "excel", "sheet": "Other", "range": "B2:C5", "header_row": 2}}
    ).format
    assert read(tmp_path, "a.xlsx", option) == {0: {"k": "1", "v": "a"}, 1: {"k": "2", "v": "b"}}
    missing = option.model_copy(update={"sheet": "Salez"})
    with pytest.raises(SourceError, match="has no sheet 'Salez'; it has 'Sales', 'Other'"):
        read(tmp_path, "a.xlsx", missing)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no zip", BOOK[:400], b"id,v\n1,2\n", b"\xd0\xcf\x11\xe0" * 200]
)
def test_a_damaged_workbook_is_a_bad_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(SourceError, match="a.xlsx"):
        read(tmp_path, "a.xlsx")


MEMBERS = {
    "b.csv": b"id,v\n1,a\n2\n",
    "sub/a.jsonl": b'{"id": 3}\n',
    "__MACOSX/._b.csv": b"no",
    ".DS_Store": b"no",
    "z.csv.gz": gzip.compress(b"id,v\n4,z\n"),
}


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes], how: Any = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=how) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zipped(MEMBERS)),
        ("a.tar.gz", tarred(MEMBERS)),
        ("a.tar", tarred(MEMBERS, "w")),
        ("a.tgz", tarred(MEMBERS)),
    ],
)
def test_the_files_of_an_archive_are_read_each_as_itself(
    lake: Lake, settings: Settings, name: str, content: bytes
) -> None:
    bench = Bench(None, lake, settings, types="inferred")
    bench.drop(DAYS[0], name, content)
    bench.run(DAYS[:1])
    assert sorted(bench.rows("id, v, split_part(_metadata.path, '/', -1)")) == [
        (1, "a", "b.csv"), (3, None, "a.jsonl"), (4, "z", "z.csv.gz"),
    ]  # fmt: skip
    assert len(set(bench.rows("_row"))) == 3
    [(_, _, raw)] = bench.quarantined()
    assert raw == "2"
    [(reason,)] = lake.connect().execute("select reason from quarantine.invoices").fetchall()
    assert reason == "b.csv: 1 fields where the header has 2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped({"a.xyz": b"what"}), "a.xyz"),
        (zipped({"_hidden": b"no"}), "holds no file"),
        (zipped({"a.zip": zipped(MEMBERS)}), "is an archive itself"),
        (zipped(MEMBERS)[:-30], "cannot be read"),
        (zipped({"a.csv": b"id\n1\n" * 999}).replace(b"\x03", b"\x04", 3), "cannot be read"),
    ],
)
def test_an_archive_that_cannot_be_read_is_a_bad_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        read(tmp_path, "x.zip")


def texts(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


DECIMAL, DAY, MOMENT = pa.decimal128(12, 2), pa.date32(), pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (DECIMAL, ("1.234,56", "0,5", "-12", None), (Decimal("1234.56"), Decimal("0.50"), Decimal(-12), None)),
        (DECIMAL, ("1,234.56", "7"), (Decimal("1234.56"), Decimal(7))),
        (DECIMAL, ("1\u00a0234,5", "1'000,25"), (Decimal("1234.50"), Decimal("1000.25"))),
        (DECIMAL, ("1,234", "2,345"), (None, None)),
        (DECIMAL, ("1.5", "2"), (Decimal("1.50"), Decimal(2))),
        (DECIMAL, ("1,5", "2.5"), (None, Decimal("2.50"))),
        (DAY, ("31.12.2026", "1.2.2026"), (date(2026, 12, 31), date(2026, 2, 1))),
        (DAY, ("13/02/2026", "01/02/2026"), (date(2026, 2, 13), date(2026, 2, 1))),
        (DAY, ("02/13/2026", "01/02/2026"), (date(2026, 2, 13), date(2026, 1, 2))),
        (DAY, ("01/02/2026", "02/01/2026"), (None, None)),
        (DAY, ("13/02/2026", "02/13/2026"), (None, None)),
        (DAY, ("2026/10/05",), (date(2026, 10, 5),)),
        (DAY, ("31.02.2026", "01.02.2026"), (None, date(2026, 2, 1))),
        (MOMENT, ("31.12.2026 9:05", "01.02.2026 10:00:01"), (datetime(2026, 12, 31, 9, 5, tzinfo=UTC), datetime(2026, 2, 1, 10, 0, 1, tzinfo=UTC))),
    ],
)  # fmt: skip
def test_local_numbers_and_days_are_told_by_values_that_agree(kind: Any, values: Any, expected: Any) -> None:
    found = localised(texts(*values), kind, Csv())
    fitted = fit(found.values, kind, text=True, declared=True)
    assert tuple(fitted.values.to_pylist()) == expected


def test_a_setting_says_how_numbers_and_days_are_written() -> None:
    comma = localised(texts("1.234", "0,5", "1.5"), DECIMAL, Csv(decimal=","))
    assert comma.values.to_pylist() == ["1234", "0.5", None]
    assert comma.left == {2: "1.5"}
    days = localised(texts("01/02/2026", "5 Oct 26", "x"), DAY, Csv(dates=("%d/%m/%Y", "%d %b %y")))
    assert days.values.to_pylist() == ["2026-02-01", "2026-10-05", None]
    assert days.left == {2: "x"}


def test_a_local_value_that_does_not_fit_is_rescued_as_it_was_written(lake: Lake, settings: Settings) -> None:
    columns = {"amount": {"type": "decimal(12,2)"}, "day": {"type": "date"}}
    option = {"type": "csv", "delimiter": ";", "decimal": ",", "dates": ["%d.%m.%Y"]}
    bench = Bench(None, lake, settings, format=option, columns=columns)
    bench.drop(DAYS[0], "a.csv", "id;amount;day\n1;1.234,56;31.12.2026\n2;1.5;2026-12-31\n")
    bench.run(DAYS[:1])
    [first, (amount, day, rescued)] = bench.rows("amount, day, _rescued_data")
    assert first == (Decimal("1234.56"), date(2026, 12, 31), None)
    assert (amount, day) == (None, None)
    assert json.loads(rescued) == {"amount": "1.5", "day": "2026-12-31"}


def test_folders_become_columns(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, partitions=["region"], columns={"n": {"type": "int"}})
    for folder in ("region=EU/n=1", "region=US%2FWest/n=2", "region=__HIVE_DEFAULT_PARTITION__/n=x"):
        (bench.folder / f"ds={DAYS[0]}/{folder}").mkdir(parents=True)
        bench.drop(DAYS[0], f"{folder}/a.csv", "id\n1\n")
    bench.drop(DAYS[0], "region=EU/b.csv", "id,region\n2,own\n")
    bench.run(DAYS[:1])
    assert sorted(bench.rows("region, n, id, _rescued_data"), key=str) == [
        ("EU", 1, "1", None), ("US/West", 2, "1", None), ("own", None, "2", None), (None, None, "1", '{"n": "x"}'),
    ]  # fmt: skip


def test_light_sql_sees_the_file_and_its_folders(lake: Lake, settings: Settings) -> None:
    sql = "select *, split_part(_file, '/', -1) as name from files"
    bench = Bench(None, lake, settings, partitions=["*"], sql=sql)
    (bench.folder / f"ds={DAYS[0]}/region=EU").mkdir(parents=True)
    bench.drop(DAYS[0], "region=EU/a.csv", "id\n1\n")
    bench.run(DAYS[:1])
    assert bench.rows("id, region, name") == [("1", "EU", "a.csv")]


def test_folder_values_leave_out_the_day_and_what_nobody_asked_for() -> None:
    source = FileSource.model_validate(SOURCE | {"partitions": ["a"]})
    assert folder_values("s/ds=2026-10-05/a=1%20x/b=2/c.csv", source) == {"a": "1 x"}


def test_markers_and_uploads_under_way_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "s/ds=2026-10-05"
    folder.mkdir(parents=True)
    for name in (
        "a.csv",
        "x_$folder$",
        "a.csv.tmp",
        "b.csv.filepart",
        "c.CSV.PART",
        "d.crdownload",
        "e.csv~",
        "_SUCCESS",
    ):
        (folder / name).write_text("id\n1\n")
    (folder / "up.tmp").mkdir()
    (folder / "up.tmp" / "f.csv").write_text("id\n1\n")
    found = walk(Landing(str(tmp_path)), FileSource.model_validate(SOURCE))
    assert [Path(file.path).name for file in found] == ["a.csv"]


def test_a_file_is_taken_once_it_is_ready(tmp_path: Path) -> None:
    source = FileSource.model_validate(SOURCE | {"ready": {"marker": "_SUCCESS", "min_age_seconds": 60}})
    now = time.time()
    for day, age, marked in (("2026-10-05", 99, True), ("2026-10-06", 9, True), ("2026-10-07", 99, False)):
        folder = tmp_path / f"s/ds={day}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("id\n1\n")
        os.utime(folder / "a.csv", (now - age, now - age))
        if marked:
            (folder / "_SUCCESS").touch()
    assert [file.path for file in walk(Landing(str(tmp_path)), source, now=lambda: now)] == [
        "s/ds=2026-10-05/a.csv"
    ]
    later = [file.path for file in walk(Landing(str(tmp_path)), source, now=lambda: now + 99)]
    assert later == ["s/ds=2026-10-05/a.csv", "s/ds=2026-10-06/a.csv"]
    with pytest.raises(ValidationError, match="cannot go with `ready`"):
        FileSource.model_validate(SOURCE | {"ordered": True, "ready": {"marker": "_SUCCESS"}})


def test_zeros_behind_gzip_are_passed_over_and_plain_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "padded.csv.gz").write_bytes(gzip.compress(b"id\n1\n") + bytes(512))
    assert read(tmp_path, "padded.csv.gz") == {0: {"id": "1"}}
    for name in ("a.csv.gz", "a.csv.zst", "a.csv.xz", "a.csv.bz2", "a.csv.lz4"):
        (tmp_path / name).write_bytes(b"id,v\n1,2\n")
        with pytest.raises(SourceError, match="is not compressed with .*; set `compression: none`"):
            read(tmp_path, name)
    (tmp_path / "other.csv.gz").write_bytes(pa.Codec("zstd").compress(b"id\n1\n", asbytes=True))
    with pytest.raises(SourceError, match="it is compressed with zstd; set `compression: zstd`"):
        read(tmp_path, "other.csv.gz")


@pytest.mark.parametrize(
    ("limits", "red"),
    [({}, True), ({"bad_share": 1}, False), ({"bad_rows": 2}, False), ({"bad_rows": 1}, True)],
)
def test_a_day_of_which_no_record_was_read_is_red(
    lake: Lake, settings: Settings, limits: Any, red: bool
) -> None:
    bench = Bench(None, lake, settings, limits=limits)
    bench.drop(DAYS[0], "a.csv", "id,v\n1,a,\n2,b,\n")
    bench.drop(DAYS[1], "b.csv", "id,v\n1,a\n2,b,\n")
    loaded = bench.run(DAYS[:2])
    assert (DAYS[0] in loaded.failed) is red
    assert DAYS[1] not in loaded.failed


def jsonl(root: Path, text: str, exact: bool) -> list[Any]:
    (root / "a.jsonl").write_text(text)
    how = how_to_read("a.jsonl", Auto(), "auto", exact)
    return list(read_file(Landing(str(root)), "a.jsonl", how))


def test_spellings_of_a_key_are_one_column(tmp_path: Path) -> None:
    text = '{"id": 1, "userId": "a"}\n{"id": 2, "UserID": "b"}\n{"id": 3, "userId": "c", "USERID": "d"}\n{"a b": 1}\n{"a_b": 2}\n'
    found = read(tmp_path, "a.jsonl") if (tmp_path / "a.jsonl").write_text(text) else {}
    assert [row.get("userId") for row in found.values()][:3] == ["a", "b", "c"]  # pyright: ignore[reportAttributeAccessIssue]
    assert [row["a_b"] for row in found.values()][3:] == ["1", "2"]  # pyright: ignore[reportArgumentType]


def test_a_nested_key_that_comes_twice_is_text_as_written_or_rescued(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    text = '{"id": 1, "o": {"k": 1, "k": 2, "l": [{"m": 3, "m": 4}]}}\n'
    [records] = jsonl(tmp_path, text, exact=True)
    assert as_text(dict(records.columns)["o"][0]) == '{"k":1,"k":2,"l":[{"m":3,"m":4}]}'
    bench = Bench(None, lake, settings, types="inferred")
    bench.drop(DAYS[0], "a.jsonl", text)
    bench.run(DAYS[:1])
    [(o, rescued)] = bench.rows("o, _rescued_data")
    assert o == {"k": 2, "l": [{"m": 4}]}
    assert json.loads(rescued) == {"o.k": 1, "o.l.m": 3}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_minus_zero_keeps_its_sign(tmp_path: Path, name: str) -> None:
    content = '{"v": -0, "d": "2026-01-05"}' if name == "a.jsonl" else '[{"v":-0}]'
    (tmp_path / name).write_text(content)
    how = how_to_read(name, Auto(), "auto", exact=False)
    [records] = read_file(Landing(str(tmp_path)), name, how)
    assert str(dict(records.columns)["v"][0]) == "-0.0"
    assert read(tmp_path, name)[0]["v"] == "-0"  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("0.1234567890123456789",), "string"), (("0.30000000000000004", "1"), "double"), (("1.50", "2"), "double"),
        (("123456789012345678.5",), "string"), (("12E12", "47E5"), "string"), (("1e5", "2.5"), "double"),
        (("1e-5", "1E+05"), "double"), (("-0", "1"), "string"), (("-0.0", "1"), "double"), (("4711", "1E6"), "string"),
        (("-5", "0"), "int64"), (("NaN", "1.5"), "double"), (("1.000000000000000000000", "2"), "double"),
    ],
)  # fmt: skip
def test_text_is_a_number_only_where_no_digit_is_lost(values: tuple[str, ...], kind: str) -> None:
    assert str(type_of_text(texts(*values))) == kind


def test_exponents_of_json_are_numbers(tmp_path: Path) -> None:
    [records] = jsonl(tmp_path, '{"v": 1e5}\n{"v": 2E3}\n', exact=False)
    assert str(infer(dict(records.columns)["v"], False)[1]) == "double"


def test_one_odd_value_costs_its_neighbours_nothing() -> None:
    many = [str(i) for i in range(20_000)]
    many[777] = "NA"
    fitted = fit(texts(*many), pa.int64(), text=True, declared=False)
    assert fitted.left == {777: {"": "NA"}}
    assert fitted.values.to_pylist()[776:779] == [776, None, 778]


def test_columns_of_fixed_width(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("id    name\n000001Zoë  \n\n2     Bob  x\n3\nTOTAL 2\n")
    option: Any = FileSource.model_validate(
        SOURCE
        | {"format": {"type": "fixed", "widths": {"id": 6, "name": 5}, "skip_lines": 1, "skip_footer": 1}}
    ).format
    assert read(tmp_path, "a.dat", option) == {
        0: {"id": "000001", "name": "Zoë"}, 1: "2     Bob  x", 2: {"id": "3", "name": None},
    }  # fmt: skip


def test_an_object_in_an_archive_class_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen(*_: Any) -> Any:
        raise OSError("When reading key: AWS Error INVALID_OBJECT_STATE during GetObject operation")

    monkeypatch.setattr(Landing, "first_bytes", frozen)
    with pytest.raises(SourceError, match="lies in an archive class of the store"):
        list(read_file(Landing(str(tmp_path)), "a.csv", how_to_read("a.csv", Auto(), "auto")))
