"""Which files there are, and to which day they belong."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.listing import Landing, batch_hash, list_files
from asgard_assets.ingest.files.models import DsRule, FileSource


def source(**changes: object) -> FileSource:
    return FileSource.model_validate(
        {"name": "s", "path": "s", "ds": {"type": "folder"}, "description": "d"} | changes
    )


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a\n1\n")


@pytest.mark.parametrize(
    ("rule", "path", "day"),
    [
        ({"type": "folder"}, "s/ds=2026-10-05/a.csv", "2026-10-05"),
        ({"type": "folder"}, "s/ds=2026-13-05/a.csv", None),
        ({"type": "folder", "name": "day"}, "s/day=2026-10-05/a.csv", "2026-10-05"),
        ({"type": "filename"}, "airbyte/users/2026_10_05_1790000000000_0.jsonl.gz", "2026-10-05"),
        ({"type": "filename"}, "airbyte/2026_10_05/users.jsonl", None),
        (
            {"type": "path", "pattern": r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/"},
            "s/2026/10/05/a.csv",
            "2026-10-05",
        ),
        ({"type": "arrival"}, "s/a.csv", "2026-10-06"),
    ],
)
def test_a_file_belongs_to_the_day_that_its_rule_names(rule: dict, path: str, day: str | None) -> None:
    from datetime import UTC, datetime

    found = TypeAdapter(DsRule).validate_python(rule).day(path, datetime(2026, 10, 6, 1, tzinfo=UTC))
    assert found == day


def test_a_pattern_must_name_a_day() -> None:
    with pytest.raises(ValidationError, match="lacks the named group day, month"):
        source(ds={"type": "path", "pattern": r"(?P<year>\d{4})"})


def test_hidden_files_are_left_out_and_undated_ones_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "s/ds=2026-10-05/a.csv", "s/ds=2026-10-05/.a.csv", "s/_tmp/b.csv", "s/readme.csv")
    listing = list_files(Landing(str(tmp_path)), source())
    assert [f.path for f in listing.days["2026-10-05"]] == ["s/ds=2026-10-05/a.csv"]
    assert listing.undated == ("s/readme.csv",)


def test_a_glob_chooses_files(tmp_path: Path) -> None:
    touch(tmp_path, "s/ds=2026-10-05/a.csv", "s/ds=2026-10-05/a.md")
    listing = list_files(Landing(str(tmp_path)), source(glob="*.csv"))
    assert [f.path for f in listing.days["2026-10-05"]] == ["s/ds=2026-10-05/a.csv"]


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ASGARD_LANDING"):
        list_files(Landing(str(tmp_path)), source())


def test_a_listing_out_of_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    names = [f"s/ds=2026-10-{day:02}/{file}.csv" for day in range(5, 15) for file in "ab"]
    touch(tmp_path, *names)
    seen, after, turns = [], None, 0
    while True:
        ticking = itertools.count()
        listing = list_files(Landing(str(tmp_path)), source(), after, 2, lambda c=ticking: next(c))
        seen += [f.path for files in listing.days.values() for f in files]
        after, turns = listing.stopped_at, turns + 1
        if after is None:
            break
    assert seen == names
    assert turns > 3


def test_the_hash_of_a_batch_follows_size_and_time(tmp_path: Path) -> None:
    touch(tmp_path, "s/ds=2026-10-05/a.csv")
    landing = Landing(str(tmp_path))

    def hashed() -> str:
        return batch_hash(list_files(landing, source()).days["2026-10-05"])

    first = hashed()
    assert hashed() == first
    os.utime(tmp_path / "s/ds=2026-10-05/a.csv", (1, 1))
    assert hashed() != first


def test_a_name_that_is_no_text_is_told_and_holds_nothing_back(tmp_path: Path) -> None:
    touch(tmp_path, "s/ds=2026-10-05/a.csv")
    Path(os.fsdecode(os.fsencode(tmp_path / "s/ds=2026-10-05") + b"/\xff.csv")).write_text("a\n1\n")
    listing = list_files(Landing(str(tmp_path)), source())
    assert [f.path for f in listing.days["2026-10-05"]] == ["s/ds=2026-10-05/a.csv"]
    assert listing.undated == (r"s/ds=2026-10-05/\udcff.csv",)
