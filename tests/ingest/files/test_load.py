"""Days of files become days of a table, on a real Spark session."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asgard_assets.errors import FencedError
from asgard_assets.ingest.files.plan import manifest
from asgard_assets.ingest.files.plan import schedule as tasks
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def bench(lake: Lake, settings: Settings) -> Bench:
    return Bench(None, lake, settings)


def test_a_range_with_mixed_formats_a_new_column_bad_rows_and_an_empty_day(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id,amount\n1,5\n2,\n3\n")
    bench.drop(DAYS[1], "a.csv", "id,amount,discount\n4,6,0.5\n")
    bench.drop(DAYS[1], "b.jsonl.gz", gzip.compress(b'{"id": 5, "who": {"n": 1.50}}\nnonsense\n'))
    loaded = bench.run()
    assert bench.rows("ds, _row, id, amount, discount, who") == [
        (DAYS[0], 0, "1", "5", None, None),
        (DAYS[0], 1, "2", None, None, None),
        (DAYS[1], 0, "4", "6", "0.5", None),
        (DAYS[1], 0, "5", None, None, '{"n":1.50}'),
    ]
    assert bench.quarantined() == [("a.csv", 2, "3"), ("b.jsonl.gz", 1, "nonsense")]
    assert bench.rows("distinct _file", "1")[0] == (f"invoices/ds={DAYS[0]}/a.csv",)
    figures = [(d.files, d.rows, d.quarantined_rows) for d in loaded.days.values()]
    assert figures == [(1, 2, 1), (2, 2, 1), (0, 0, 0)]
    # The empty day is published all the same, and nothing is left to load.
    assert list(bench.lake.epochs("bronze", "invoices", DAYS).values()) == [1, 1, 1]
    assert bench.states() == {"loaded"}


@pytest.mark.slow
def test_a_rerun_is_equal_and_a_changed_file_replaces_its_rows(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id,amount\n1,5\n2,6\n")
    bench.drop(DAYS[0], "b.csv", "id,amount\n3,7\n")
    bench.run(DAYS[:1])
    first = bench.hash()
    bench.run(DAYS[:1])
    assert bench.hash() == first
    changed = bench.drop(DAYS[0], "a.csv", "id,amount,discount\n9,5,1\n")
    os.utime(changed, (2e9, 2e9))
    assert bench.states() == {"changed", "loaded"}
    loaded = bench.run(DAYS[:1])
    assert bench.rows("id, discount") == [("9", "1"), ("3", None)]
    assert loaded.new_columns == ("discount",)


@pytest.mark.slow
def test_rows_of_a_file_that_is_gone_stay_when_its_day_is_loaded_again(bench: Bench) -> None:
    gone = bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.drop(DAYS[0], "b.csv", "id\n2\n")
    bench.run(DAYS[:1])
    gone.unlink()
    for again in (False, True):
        assert bench.run(DAYS[:1], full=again).days[DAYS[0]].deleted_files == 1
        assert bench.rows("id") == [("1",), ("2",)]
    assert bench.states() == {"deleted", "loaded"}


@pytest.mark.slow
def test_a_second_full_refresh_of_a_day_replaces_the_first(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings, files="snapshot", ds={"type": "filename"})
    first = bench.put("2026_10_05_1790000000000_0.jsonl", '{"id": 1}\n{"id": 2}\n')
    bench.run(DAYS[:1])
    second = bench.put("2026_10_05_1790000009999_0.jsonl", '{"id": 2}\n')
    bench.put("2026_10_05_1790000009999_1.jsonl", '{"id": 3}\n')
    bench.run(DAYS[:1])  # both generations lie there, as for a moment while Airbyte publishes
    assert bench.rows("id") == [("2",), ("3",)]
    first.unlink()
    assert bench.states() == {"loaded"}
    assert bench.run(DAYS[:1]).days[DAYS[0]].deleted_files == 0
    assert bench.rows("id") == [("2",), ("3",)]
    # The next day's sync removes this day's files: what was loaded of it is history and stays.
    for path in (second, *bench.folder.glob("*_1.jsonl")):
        path.unlink()
    bench.put("2026_10_06_1790080000000_0.jsonl", '{"id": 9}\n')
    bench.run(DAYS[:2])
    assert bench.rows("id, ds") == [("2", DAYS[0]), ("3", DAYS[0]), ("9", DAYS[1])]


def test_an_unreadable_file_fails_its_day_only_and_is_named(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.drop(DAYS[1], "good.csv", "id\n2\n")
    bench.drop(DAYS[1], "cut.csv.gz", gzip.compress(b"id\n" + b"1\n" * 9000)[:-20])
    loaded = bench.run()
    assert list(loaded.failed) == [DAYS[1]]
    assert "cut.csv.gz" in loaded.failed[DAYS[1]]
    assert bench.rows("id") == [("1",)]
    assert bench.states() == {"loaded", "pending", "failed"}
    assert [row[:2] for row in bench.quarantined()] == [("cut.csv.gz", None)]
    assert "cannot be read" in bench.quarantined()[0][2]


def test_a_load_killed_between_plan_and_commit_is_loaded_again(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.stage(DAYS[:1])  # plan and staged files are written; the commit never comes
    assert bench.states() == {"pending"}
    assert bench.run(DAYS[:1]).plans == {f"invoices/{DAYS[0]}": 2}
    assert bench.states() == {"loaded"}
    assert bench.rows("id") == [("1",)]


def test_of_two_loads_at_once_one_wins_and_the_other_is_told(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    slow, fast = bench.stage(DAYS[:1]), bench.stage(DAYS[:1])
    bench.publish(fast)
    with pytest.raises(FencedError):
        bench.publish(slow)
    assert bench.rows("id") == [("1",)]


@pytest.mark.parametrize(("mode", "rescued"), [("rescue", '{"discount": "0.5"}'), ("none", None)])
def test_a_new_column_may_be_rescued_or_ignored(
    lake: Lake, settings: Settings, mode: str, rescued: str | None
) -> None:
    columns = {"id": {"type": "string"}}
    bench = Bench(None, lake, settings, schema_mode=mode, columns=columns)
    bench.drop(DAYS[0], "a.csv", "ID,discount\n1,0.5\n")
    bench.run(DAYS[:1])
    assert bench.rows("id, _rescued_data") == [("1", rescued)]


def test_a_new_column_may_fail_its_day(lake: Lake, settings: Settings) -> None:
    columns = {"id": {"type": "string"}}
    bench = Bench(None, lake, settings, schema_mode="failOnNewColumns", columns=columns)
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.drop(DAYS[1], "a.csv", "id,discount\n1,0.5\n")
    loaded = bench.run()
    assert "discount" in loaded.failed[DAYS[1]]
    assert bench.rows("id") == [("1",)]


def test_names_that_collide_or_belong_to_the_loader_are_rescued(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "id,Id,ds,unit price\n1,2,x,3\n")
    bench.run(DAYS[:1])
    assert bench.rows("id, unit_price, ds, _rescued_data") == [("1", "3", DAYS[0], '{"Id": "2", "ds": "x"}')]


def test_two_spellings_of_a_new_column_become_one(bench: Bench) -> None:
    bench.drop(DAYS[0], "a.csv", "Id\n1\n")
    bench.drop(DAYS[1], "a.csv", "id\n1\n")
    bench.run()
    assert bench.rows("Id") == [("1",), ("1",)]


@pytest.mark.slow
def test_many_bytes_are_spread_over_tasks(
    spark: SparkSession, lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_BYTES", 1)
    bench = Bench(spark, lake, settings)
    for day in DAYS:
        bench.drop(day, "a.csv", "id\n1\n2\n")
    bench.run()
    assert bench.rows("count(*)", "1") == [(6,)]


def test_more_than_a_few_files_open_the_session(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings)
    for n in range(tasks.DRIVER_FILES + 1):
        bench.drop(DAYS[0], f"{n}.csv", "id\n1\n")
    with pytest.raises(AssertionError, match="more than the driver reads"):
        bench.run()


@pytest.mark.slow
def test_a_look_at_a_source_leaves_arrow_alone(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is 45 MB, in a process that holds the sensors of all sources."""
    bench = Bench(None, lake, settings, limits={"bad_files": 1})
    bench.drop(DAYS[0], "a.csv", "id\n1\n")
    bench.drop(DAYS[0], "b.csv.gz", b"no gzip")
    bench.run(DAYS[:1])
    monkeypatch.setattr(manifest, "FOLD_PLANS", 0)
    assert manifest.open_manifest(lake, "invoices", fold=True).base
    code = """if True:
        import sys
        from asgard_assets.ingest.files.landing import Landing
        from asgard_assets.ingest.files.plan.listing import scan, scan_announced
        from asgard_assets.ingest.files.plan.manifest import open_manifest
        from asgard_assets.ingest.files.source.models import FileSource
        from asgard_assets.lake import Lake
        source = FileSource.model_validate_json(sys.argv[1])
        lake, landing = Lake(sys.argv[2]), Landing(sys.argv[3])
        found = scan(lake, landing, source)
        assert len(found.failed) == 1, found
        scan_announced(lake, landing, source, [file for files in found.todo.values() for file in files])
        sys.exit(str({"pandas", "pyarrow", "numpy"} & sys.modules.keys() or ""))
    """
    told = [bench.source.model_dump_json(), lake.root, bench.landing.root]
    done = subprocess.run([sys.executable, "-c", code, *told], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
