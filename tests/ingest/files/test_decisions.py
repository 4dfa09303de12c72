"""What a person decided about single columns, the first day that is loaded, and what a load tells while it goes on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from asgard_assets.ingest.files.plan.progress import Meter, metered, reading_of
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench


def bench_of(lake: Lake, settings: Settings, mode: str = "addNewColumns", **changes: Any) -> Bench:
    """A table with one row of the columns id and amount."""
    bench = Bench(None, lake, settings, types="inferred", schema_mode=mode)
    bench.drop(DAYS[0], "a.csv", "id,amount\n1,5\n")
    bench.run(DAYS[:1])
    bench.source = bench.source.model_copy(update=changes)
    return bench


def second_day(bench: Bench, text: str) -> dict[str, str]:
    """Load another file; the days that failed, with reasons."""
    bench.drop(DAYS[1], "b.csv", text)
    loaded = bench.stage(DAYS[1:2])
    bench.publish(loaded)
    return dict(loaded.failed)


def test_a_new_column_is_accepted_where_others_are_rescued(lake: Lake, settings: Settings):
    bench = bench_of(lake, settings, "rescue", schema_changes={"note": "accept"})
    assert second_day(bench, "id,amount,note,other\n2,6,x,y\n") == {}
    assert bench.rows("id, note, _rescued_data")[1] == (2, "x", '{"other": "y"}')


def test_a_new_column_is_rescued_where_others_are_added(lake: Lake, settings: Settings):
    bench = bench_of(lake, settings, schema_changes={"note": "rescue"})
    assert second_day(bench, "id,amount,note,other\n2,6,x,y\n") == {}
    assert bench.rows("id, other, _rescued_data")[1] == (2, "y", '{"note": "x"}')


@pytest.mark.parametrize(
    "text", ["id,amount,note\n2,6,x\n", "id,amount\n2,x\n", "id,amount\n2,7.5\n", "id\n2\n"]
)
def test_a_refused_column_fails_its_day_and_the_table_stays(lake: Lake, settings: Settings, text: str):
    bench = bench_of(
        lake, settings, schema_changes={"note": "refuse"} if "note" in text else {"amount": "refuse"}
    )
    failed = second_day(bench, text)
    assert list(failed) == DAYS[1:2], failed
    assert bench.rows("id, amount") == [(1, 5)]


def test_a_type_stays_where_its_values_are_rescued(lake: Lake, settings: Settings):
    bench = bench_of(lake, settings, schema_changes={"amount": "rescue"})
    assert second_day(bench, "id,amount\n2,7.5\n3,8\n") == {}
    assert bench.rows("id, amount, typeof(amount)")[1:] == [(2, None, "BIGINT"), (3, 8, "BIGINT")]
    accepted = bench_of(
        Lake(f"{lake.root}2"), settings.model_copy(update={"landing": f"{settings.landing_root}2"})
    )
    assert second_day(accepted, "id,amount\n2,7.5\n") == {}
    assert accepted.rows("id, amount")[1] == (2, 7.5)


def test_files_before_the_first_day_are_left_alone(lake: Lake, settings: Settings):
    bench = Bench(None, lake, settings, load_from=date.fromisoformat(DAYS[1]))
    for day in DAYS[:2]:
        bench.drop(day, "a.csv", "id\n1\n")
    from asgard_assets.ingest.files.plan.listing import scan

    found = scan(bench.lake, bench.landing, bench.source)
    assert list(found.todo) == DAYS[1:2] and found.undated_count == 0
    assert bench.states() == {"pending"}


def test_a_load_tells_how_far_it_is_and_leaves_nothing_behind(lake: Lake, settings: Settings):
    bench, told = Bench(None, lake, settings), list[Any]()

    class Watched(Meter):
        def _write(self, found: Any) -> None:
            super()._write(found)
            told.append(reading_of(lake, "invoices", "run-1"))

    for number in range(3):
        bench.drop(DAYS[0], f"{number}.csv", "id\n1\n2\n")
    times = iter(range(100))
    bench.run(DAYS[:1], meter=Watched(lake, "invoices", "run-1", clock=lambda: float(next(times))))
    assert [(one.files, one.files_total, one.rows) for one in told] == [
        (0, 3, 0),
        (1, 3, 2),
        (2, 3, 4),
        (3, 3, 6),
    ]
    assert told[-1].bytes == told[-1].bytes_total > 0
    with pytest.raises(ZeroDivisionError), metered(lake, "invoices", "run-2") as meter:
        meter.begin(1, 1)
        assert reading_of(lake, "invoices", "run-2")
        _ = 1 / 0
    assert reading_of(lake, "invoices", "run-2") is None
