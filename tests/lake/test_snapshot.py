"""A snapshot's transaction numbers come from one reading of the log, and are those that delta-rs gives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import publish_id, rows_id, rows_of, seen_id
from asgard_assets.lake.snapshot import TableLog
from asgard_assets.lake.store import Store
from tests.checkout import ROOT

DAYS = [str(date(2026, 1, 1) + timedelta(days=number)) for number in range(365)]
SCHEMA = pa.schema([("a", pa.int64()), ("ds", pa.string())])


@dataclass(frozen=True)
class Counted(Store):
    """A store that notes what is asked of it."""

    asked: list[str] = field(default_factory=list[str], hash=False)

    def names(self, folder: str) -> list[str]:
        self.asked.append(folder)
        return super().names(folder)

    def get(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        self.asked.append(path)
        return super().get(path, start, size)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def publish(lake: Lake, days: list[str], plans: dict[str, int] | None = None) -> None:
    lake.publish(lake.stage("bronze", "t", SCHEMA, days), plans=plans)


def test_a_table_that_was_never_published_has_no_numbers(lake: Lake) -> None:
    now = lake.snapshot("bronze", "t")
    assert (now.version, now.table_id, dict(now.numbers), now.published(DAYS[:2])) == (
        -1,
        "",
        {},
        {DAYS[0]: 0, DAYS[1]: 0},
    )


def test_a_snapshot_stays_at_its_version(lake: Lake) -> None:
    publish(lake, DAYS[:1])
    before = lake.snapshot("bronze", "t")
    publish(lake, DAYS[:2], {"orders/x": 7})
    assert before.published(DAYS[:2]) == {DAYS[0]: 1, DAYS[1]: 0}
    after = lake.snapshot("bronze", "t")
    assert after.published(DAYS[:2]) == {DAYS[0]: 2, DAYS[1]: 1}
    assert (after.number("orders/x"), after.number("orders/y")) == (7, 0)
    assert after.version > before.version and after.table_id == before.table_id


def test_all_numbers_of_a_year_cost_one_reading_of_the_log(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, DAYS)
    publish(lake, DAYS[:3])

    def one_by_one(*_: object) -> None:
        raise AssertionError("the log is read for a single number")

    monkeypatch.setattr(DeltaTable, "transaction_version", one_by_one)
    store = Counted(lake.root)
    log = TableLog(store, "bronze/t")
    version = lake.version("bronze", "t")
    numbers = log.numbers(version)
    assert len(rows_of(numbers)) == 365 and len(numbers) == 2 * 365 + 1
    assert numbers[publish_id(DAYS[0])] == 2 and numbers[publish_id(DAYS[364])] == 1
    assert len(store.asked) == len(set(store.asked)) == version + 2  # its listing, and each entry once
    log.numbers(version)
    assert len(store.asked) == version + 2
    publish(lake, DAYS[:1])
    assert log.numbers(version + 1)[publish_id(DAYS[0])] == 3
    assert len(store.asked) == version + 3  # the new entry alone
    assert lake.epochs("bronze", "t", DAYS)[DAYS[364]] == 1


def checkpointed(lake: Lake) -> DeltaTable:
    for number in range(4):
        publish(lake, [DAYS[number]], {f"orders/{DAYS[number]}": number + 5})
    table = lake.table("bronze", "t")
    assert table is not None
    table.create_checkpoint()
    publish(lake, [DAYS[0]])
    return DeltaTable(lake.path("bronze", "t"))


def of_delta_rs(table: DeltaTable) -> dict[str, int]:
    names = [name(day) for name in (publish_id, rows_id) for day in DAYS[:6]] + [
        f"orders/{day}" for day in DAYS[:6]
    ]
    names.append(seen_id())
    told = {name: table.transaction_version(name) for name in names}
    return {name: number for name, number in told.items() if number is not None}


def log_of(lake: Lake) -> Path:
    return Path(lake.path("bronze", "t"), "_delta_log")


def test_numbers_come_from_checkpoints_and_the_entries_after_them(lake: Lake) -> None:
    table = checkpointed(lake)
    [checkpoint] = log_of(lake).glob("*.checkpoint.parquet")
    for entry in log_of(lake).glob("*.json"):
        if entry.stem <= checkpoint.name.split(".")[0]:
            entry.unlink()  # as Delta does in time
    assert dict(lake.snapshot("bronze", "t").numbers) == of_delta_rs(table)


def parts(checkpoint: Path) -> Iterator[Path]:
    """The checkpoint in two parts, as Spark writes big ones."""
    rows = pq.read_table(checkpoint)
    version = checkpoint.name.split(".")[0]
    half = rows.num_rows // 2
    for number, some in enumerate((rows.slice(0, half), rows.slice(half)), 1):
        path = checkpoint.with_name(f"{version}.checkpoint.{number:010}.{2:010}.parquet")
        pq.write_table(some, path)
        yield path
    checkpoint.unlink()


def test_a_checkpoint_in_parts_counts_when_it_is_whole(lake: Lake) -> None:
    table = checkpointed(lake)
    expected = of_delta_rs(table)
    [checkpoint] = log_of(lake).glob("*.checkpoint.parquet")
    _, second = parts(checkpoint)
    assert dict(TableLog(lake, "bronze/t").numbers(table.version())) == expected
    second.unlink()
    assert dict(TableLog(lake, "bronze/t").numbers(table.version())) == expected  # from the entries


def test_a_checkpoint_with_a_name_of_its_own_counts(lake: Lake) -> None:
    expected = of_delta_rs(checkpointed(lake))
    [checkpoint] = log_of(lake).glob("*.checkpoint.parquet")
    version = checkpoint.name.split(".")[0]
    named = checkpoint.with_name(f"{version}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet")
    checkpoint.rename(named)
    for entry in log_of(lake).glob("*.json"):
        if entry.stem <= version:
            entry.unlink()
    newest = max(int(entry.stem) for entry in log_of(lake).glob("*.json"))
    assert dict(TableLog(lake, "bronze/t").numbers(newest)) == expected


def test_an_entry_that_is_missing_is_an_error(lake: Lake) -> None:
    publish(lake, DAYS[:1])
    publish(lake, DAYS[:1])
    version = lake.version("bronze", "t")
    next(iter(sorted(log_of(lake).glob("*.json")))).unlink()
    with pytest.raises(FileNotFoundError):
        TableLog(lake, "bronze/t").numbers(version)


def test_a_number_of_another_writer_is_seen(lake: Lake) -> None:
    publish(lake, DAYS[:1])
    table = lake.table("bronze", "t")
    assert table is not None
    from deltalake import write_deltalake

    write_deltalake(
        table,
        pa.table({"a": [1], "ds": [DAYS[5]]}),
        mode="append",
        commit_properties=CommitProperties(app_transactions=[Transaction("notebook", 3)]),
    )
    assert lake.snapshot("bronze", "t").number("notebook") == 3


def test_no_number_is_looked_up_one_by_one() -> None:
    files = [*(ROOT / "asgard_assets").rglob("*.py"), *(ROOT / "dbt").rglob("*.py")]
    assert [str(f) for f in files if "transaction_version(" in f.read_text()] == []


def test_a_table_made_anew_has_another_id(lake: Lake) -> None:
    publish(lake, DAYS[:1])
    before = lake.snapshot("bronze", "t").table_id
    shutil.rmtree(lake.path("bronze", "t"))
    publish(lake, DAYS[:1])
    now = lake.snapshot("bronze", "t")
    assert now.table_id not in ("", before) and now.published(DAYS[:1]) == {DAYS[0]: 1}
