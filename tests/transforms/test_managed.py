"""Definitions that the API keeps in the lake."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.lake.store import Store
from asgard_assets.transforms.managed import FOLDER, Size, Step, Transform, load, newest, save


def transform(sql: str = "SELECT 1 AS `n`", name: str = "daily") -> Transform:
    return Transform(name=name, sql=sql, steps=(Step(sql=sql),))


def test_a_change_is_a_new_revision_and_the_old_one_stays(tmp_path: Path):
    store = Store(str(tmp_path))
    assert save(store, transform()).number == 1
    assert save(store, transform()).number == 1
    assert save(store, transform("SELECT 2 AS `n`")).number == 2
    assert load(store, "daily", 1).transform.sql == "SELECT 1 AS `n`"
    assert [one.number for one in newest(store)] == [2]


def test_writers_at_the_same_time_get_numbers_of_their_own(tmp_path: Path):
    store, together, numbers = Store(str(tmp_path)), Barrier(6), list[int]()

    def write(value: int) -> None:
        together.wait()
        numbers.append(save(store, transform(f"SELECT {value} AS `n`")).number)

    threads = [Thread(target=write, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_a_lake_without_definitions_has_none(tmp_path: Path):
    assert newest(Store(str(tmp_path / "nothing"))) == []
    with pytest.raises(ConfigError, match="no definition"):
        load(Store(str(tmp_path)), "daily")


def test_a_definition_that_cannot_be_read_is_named(tmp_path: Path):
    store = Store(str(tmp_path))
    store.put_new(f"{FOLDER}/daily.1.json", b"{}")
    with pytest.raises(ConfigError, match=r"daily\.1\.json"):
        newest(store)


def test_a_size_is_written_in_the_operators_words():
    size = Size(executor_instances=4, executor_memory="8g", driver_cores=2)
    assert size.spec() == {"driver": {"cores": 2}, "executor": {"instances": 4, "memory": "8g"}}
    assert Size().spec() == {}
