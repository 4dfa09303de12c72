"""A key that rises through a large table is unique without a count of its values; every other one is counted."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.lake import Lake
from asgard_assets.quality import audit as module
from asgard_assets.quality.audit import audit
from asgard_assets.quality.tables import KEY_IS_UNIQUE, TableSpec

SPEC = TableSpec(stage="bronze", name="t", description="d", key=("id",))
DAY = "2026-10-05"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(module, "_MANY_ROWS", 4)
    return Lake(str(tmp_path / "lake"))


def staged(lake: Lake, *files: pa.Array):
    staging = lake.stage("bronze", "t", pa.schema([("id", files[0].type), ("ds", pa.string())]), [DAY])
    for at, keys in enumerate(files):
        with lake.whole(f"{staging.path}/ds={DAY}/part-{at}.parquet") as file:
            pq.write_table(pa.table({"id": keys}), file, row_group_size=3)
    return staging


def unique(lake: Lake, *files: pa.Array) -> bool:
    """What the audit says of the key; the figure that the values themselves give is the same."""
    said = not audit(lake, staged(lake, *files), SPEC).bad_days
    values = [value for keys in files for value in keys.to_pylist()]
    assert said == (None not in values and len(set(values)) == len(values))
    return said


def risen(lake: Lake, *files: pa.Array) -> bool:
    uris = [uri for found in lake.staged_files(staged(lake, *files)).values() for uri in found]
    return module._rises(lake, uris, "id")


@pytest.mark.parametrize("files", [[[1, 2, 3, 4, 5]], [[1], [2], [4], [3]]], ids=["one_file", "one_row_each"])
def test_one_file_or_one_row_rises_too(lake: Lake, files: list[list[int]]) -> None:
    arrays = [pa.array(keys) for keys in files]
    assert risen(lake, *arrays)
    assert unique(lake, *arrays)


def test_rising_files_in_any_order_need_no_count(lake: Lake) -> None:
    files = [pa.array([11, 12, 13, 14, 20]), pa.array([1, 2, 3, 10]), pa.array([21, 22, 23])]
    assert risen(lake, *files)
    assert unique(lake, *files)


@pytest.mark.parametrize(
    "files",
    [
        [[1, 2, 2, 3, 4]],  # twice within a row group
        [[1, 2, 3, 3, 4]],  # twice, on both sides of two row groups
        [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]],  # the last of one is the first of the other
        [[1, 2, 3, 9, 10], [3, 4, 5, 6, 7]],  # files that overlap
        [[1, 2, None, 4, 5]],
        [[None, 2, 3, 4, 5]],
        [[1, 2, 3, 4, None]],
    ],
)
def test_a_key_that_is_there_twice_or_null_is_found(lake: Lake, files: list[list[int | None]]) -> None:
    arrays = [pa.array(keys, pa.int64()) for keys in files]
    assert not risen(lake, *arrays)
    assert not unique(lake, *arrays)


def test_a_unique_key_that_does_not_rise_is_counted(lake: Lake) -> None:
    files = [pa.array([5, 4, 3, 2, 1]), pa.array([9, 8, 7, 6])]
    assert not risen(lake, *files)
    assert unique(lake, *files)


@pytest.mark.parametrize(
    "keys",
    [
        pa.array(["a", "b", "ba", "c", "ü"]),
        pa.array([datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)], pa.timestamp("us", "UTC")),
        pa.array([0, 253402300800000000, 253402300800000001, 253402300800000002], pa.timestamp("us")),
        pa.array([b"a", b"b", b"c", b"d"]),
        pa.array([[1], [2], [3], [4]]),
        pa.array([True, False, True, False]),
    ],
    ids=["text", "instants", "after_year_9999", "bytes", "lists", "booleans"],
)
def test_keys_of_every_type_are_judged(lake: Lake, keys: pa.Array) -> None:
    counted = pa.types.is_list(keys.type) or pa.types.is_boolean(keys.type)
    assert risen(lake, keys) is not counted
    said = not audit(lake, staged(lake, keys), SPEC).bad_days
    assert said == (keys.type != pa.bool_())


def test_not_a_number_is_no_order(lake: Lake) -> None:
    nan = float("nan")
    assert not risen(lake, pa.array([1.0, nan, nan, 2.0]))
    assert audit(lake, staged(lake, pa.array([1.0, nan, nan, 2.0])), SPEC).broken[KEY_IS_UNIQUE] == {DAY: 1}


def test_random_files_are_judged_as_their_values_are(lake: Lake) -> None:
    chance = random.Random(20261130)
    told = set()
    for _ in range(60):
        start, files = 0, []
        for _ in range(chance.randint(1, 3)):
            keys = [start := start + chance.choice([1, 1, 1, 1, 1, 1, 0, -1]) for _ in range(6)]
            files.append(pa.array(keys, pa.int64()))
        chance.shuffle(files)
        told.add(unique(lake, *files))
    assert told == {True, False}


def test_of_few_rows_the_values_are_counted(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert not risen(lake, pa.array([1, 2, 3, 4, 5]))
