"""Files that are written, replaced or removed while a load is at work: each row once, or the file is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.ingest.files import load as module
from asgard_assets.ingest.files.plan import read_task as work
from asgard_assets.ingest.files.plan import splits
from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

pytestmark = pytest.mark.slow

LATER = 2e9


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write("3\n")
    os.utime(path, (LATER, LATER))


def swap(path: Path) -> None:
    draft = path.with_name(".draft")
    draft.write_text("id\n8\n9\n")
    os.utime(draft, (LATER, LATER))
    draft.rename(path)


def drop(path: Path) -> None:
    path.unlink()


Change = Callable[[Path], None]
AFTER = {grow: ["1", "2", "3"], swap: ["8", "9"], drop: []}


def at_listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Once, between the listing and the first byte read."""
    written = module.write_plan

    def then(*args: Any, **how: Any) -> Any:
        plan = written(*args, **how)
        change()
        monkeypatch.setattr(module, "write_plan", written)
        return plan

    monkeypatch.setattr(module, "write_plan", then)


def at_reading(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[], None]) -> None:
    """Once, when the file's records were read."""
    read = work.read_file

    def then(landing: Any, path: str, *args: Any) -> Any:
        yield from read(landing, path, *args)
        if path.endswith(name):
            change()
            monkeypatch.setattr(work, "read_file", read)

    monkeypatch.setattr(work, "read_file", then)


@pytest.fixture(params=["listed", "read"])
def meanwhile(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, Change], None]:
    def arrange(path: Path, change: Change) -> None:
        if request.param == "listed":
            at_listing(monkeypatch, lambda: change(path))
        else:
            at_reading(monkeypatch, path.name, lambda: change(path))

    return arrange


@pytest.mark.parametrize("change", [grow, swap, drop])
def test_a_day_whose_file_moves_fails_with_its_name_and_the_next_load_has_each_row_once(
    lake: Lake, settings: Settings, meanwhile: Callable[[Path, Change], None], change: Change
) -> None:
    bench = Bench(None, lake, settings)
    moving = bench.drop(DAYS[0], "a.csv", "id\n1\n2\n")
    bench.drop(DAYS[0], "b.csv", "id\n5\n")
    bench.drop(DAYS[1], "c.csv", "id\n6\n")
    meanwhile(moving, change)
    loaded = bench.run(DAYS[:2])
    assert list(loaded.failed) == [DAYS[0]]
    assert "a.csv was changed or removed while it was being loaded" in loaded.failed[DAYS[0]]
    assert bench.rows("id") == [("6",)]
    assert not bench.run(DAYS[:2]).failed
    assert sorted(id for (id,) in bench.rows("id")) == sorted([*AFTER[change], "5", "6"])
    assert bench.quarantined() == []
    assert scan(lake, bench.landing, bench.source).todo == {}


@pytest.mark.parametrize("change", [grow, swap, drop])
def test_where_files_may_fail_the_rest_of_the_day_is_published_and_the_moving_one_comes_later(
    lake: Lake, settings: Settings, meanwhile: Callable[[Path, Change], None], change: Change
) -> None:
    bench = Bench(None, lake, settings, limits={"bad_files": 1})
    moving = bench.drop(DAYS[0], "a.csv", "id\n1\n2\n")
    bench.drop(DAYS[0], "b.csv", "id\n5\n")
    meanwhile(moving, change)
    loaded = bench.run(DAYS[:1])
    assert (loaded.failed, [bad.file.path[-5:] for bad in loaded.bad_files]) == ({}, ["a.csv"])
    assert bench.rows("id") == [("5",)]
    assert [row[:2] for row in bench.quarantined()] == [("a.csv", None)]
    again = bench.run(DAYS[:1])
    assert (again.failed, again.bad_files) == ({}, ())
    assert sorted(id for (id,) in bench.rows("id")) == sorted([*AFTER[change], "5"])
    # What was removed and never loaded stays named; a file that came later is no longer bad.
    assert [row[0] for row in bench.quarantined()] == (["a.csv"] if change is drop else [])


@pytest.mark.parametrize("change", [grow, swap, drop])
def test_rows_of_a_loaded_file_stay_until_its_next_version_is_loaded(
    lake: Lake, settings: Settings, meanwhile: Callable[[Path, Change], None], change: Change
) -> None:
    bench = Bench(None, lake, settings, limits={"bad_files": 1})
    moving = bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.run(DAYS[:1])
    moving.write_text("id\n1\n2\n")
    os.utime(moving, (1.9e9, 1.9e9))
    meanwhile(moving, change)
    assert len(bench.run(DAYS[:1]).bad_files) == 1
    assert bench.rows("id") == [("1",)]
    bench.run(DAYS[:1])
    # A file that is gone keeps the rows that were loaded of it.
    assert [id for (id,) in bench.rows("id")] == (AFTER[change] or ["1"])


def test_a_day_that_is_overwritten_is_not_published_without_a_file_that_moves(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(None, lake, settings, limits={"bad_files": 5}, write={"type": "overwrite"})
    moving = bench.drop(DAYS[0], "a.csv", "id\n1\n2\n")
    bench.drop(DAYS[0], "b.csv", "id\n5\n")
    bench.run(DAYS[:1])
    at_listing(monkeypatch, lambda: grow(moving))
    assert list(bench.run(DAYS[:1]).failed) == [DAYS[0]]
    assert bench.rows("id") == [("1",), ("2",), ("5",)]
    assert not bench.run(DAYS[:1]).failed
    assert bench.rows("id") == [("1",), ("2",), ("3",), ("5",)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["big.csv", "big.jsonl"])
@pytest.mark.parametrize("change", ["cut", "drop", "swap"])
def test_a_big_file_that_moves_before_it_is_split_fails_its_day_only(
    lake: Lake, settings: Settings, spark: Any, monkeypatch: pytest.MonkeyPatch, name: str, change: str
) -> None:
    monkeypatch.setattr(splits, "SPLIT_BYTES", 4_000)
    bench = Bench(spark, lake, settings)
    rows = [f"{n}\n" if name.endswith("csv") else json.dumps({"id": n}) + "\n" for n in range(3_000)]
    head = ["id\n"] if name.endswith("csv") else []
    big = bench.drop(DAYS[0], name, "".join(head + rows))
    bench.drop(DAYS[1], "c.csv", "id\n6\n")

    def move() -> None:
        if change == "cut":
            os.truncate(big, 5_000)
        elif change == "drop":
            big.unlink()
        else:
            big.write_text("".join(head + rows[::-1]))
            os.utime(big, (LATER, LATER))

    at_listing(monkeypatch, move)
    loaded = bench.run(DAYS[:2])
    assert list(loaded.failed) == [DAYS[0]]
    assert f"{name} was changed or removed" in loaded.failed[DAYS[0]]
    assert bench.rows("id") == [("6",)]
    if change == "swap":
        assert not bench.run(DAYS[:2]).failed
        assert bench.rows("count(*), count(distinct id)", "1") == [(3_001, 3_000)]
