"""Each file's rows are there once: killed at any moment, two loads at once, the log long gone, a year at a time."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asgard_assets.errors import FencedError
from asgard_assets.ingest.files.plan.listing import scan
from asgard_assets.ingest.files.plan.load_plan import plan_numbers, read_plan
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.checkout import ROOT
from tests.ingest.files.bench import DAYS, Bench

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def bench(spark: SparkSession, lake: Lake, settings: Settings) -> Bench:
    return Bench(spark, lake, settings)


def numbered(bench: Bench, count: int, days: list[str]) -> list[Path]:
    """Small files, each with two rows of its number and one that cannot be read."""
    content = '{{"id": {0}, "part": "a"}}\n{{"id": {0}, "part": "b"}}\nbroken {0}\n'
    return [bench.drop(days[n % len(days)], f"{n:05}.jsonl", content.format(n)) for n in range(count)]


def started(bench: Bench) -> subprocess.Popen[bytes]:
    """A load in a process of its own, its session open."""
    env = {**os.environ, "ASGARD_HOME": str(bench.folder.parent.parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.ingest.files.loader_process", *DAYS]
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def killed_after(bench: Bench, seconds: float) -> None:
    """Kill a load so long after it began."""
    process = started(bench)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_and_compare(bench: Bench, kills: int, chance: random.Random, count: int = 300) -> None:
    numbered(bench, count, DAYS)
    began = time.monotonic()
    undisturbed = bench.run()
    length = time.monotonic() - began
    assert sum(day.rows for day in undisturbed.days.values()) == 2 * count
    expected, quarantine = bench.hash(), bench.quarantined()
    assert len(quarantine) == count
    lake = Path(bench.lake.root)
    for _ in range(kills):
        shutil.rmtree(lake)
        killed_after(bench, chance.uniform(0, 1.5 * length))
        bench.run()
        assert bench.hash() == expected
        assert bench.quarantined() == quarantine
        assert bench.states() == {"loaded"}


@pytest.mark.servers
def test_a_load_killed_at_a_random_moment_leaves_no_trace(bench: Bench, chance: random.Random) -> None:
    kill_and_compare(bench, 1, chance, count=90)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_loads_killed_at_twenty_random_moments_leave_no_trace(bench: Bench, chance: random.Random) -> None:
    kill_and_compare(bench, 20, chance)


@pytest.mark.servers
def test_two_loads_at_once_bring_each_row_once(bench: Bench) -> None:
    numbered(bench, 40, DAYS)
    together = threading.Barrier(2)
    told: list[str] = []

    def run() -> None:
        together.wait()
        for _ in range(3):
            try:
                told.append(f"loaded {sum(day.rows for day in bench.run().days.values())}")
                return
            except FencedError:
                told.append("fenced")

    loads = [threading.Thread(target=run) for _ in range(2)]
    for each in loads:
        each.start()
    for each in loads:
        each.join()
    assert bench.rows("count(*), count(distinct (id, part))", "1") == [(80, 80)]
    assert len(bench.quarantined()) == 40
    assert sorted(told) in (["fenced", "loaded 0", "loaded 80"], ["loaded 0", "loaded 80"])


@pytest.mark.servers
def test_of_two_loading_processes_started_at_once_each_row_is_there_once(bench: Bench) -> None:
    numbered(bench, 60, DAYS)
    ended: list[int] = []
    for _ in range(4):
        both = [started(bench) for _ in range(1 if 0 in ended else 2)]
        ended += [process.wait() for process in both]
        if ended.count(0) >= 2:
            break
    assert ended.count(0) == 2 and len(ended) <= 4
    assert bench.rows("count(*), count(distinct (id, part))", "1") == [(120, 120)]
    assert len(bench.quarantined()) == 60
    assert bench.states() == {"loaded"}


@pytest.mark.parametrize(
    ("count", "replaced"),
    [
        pytest.param(500, 5, marks=pytest.mark.slow),
        pytest.param(10_000, 10, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_of_many_files_only_the_replaced_are_loaded_again_after_the_log_is_gone(
    bench: Bench, count: int, replaced: int
) -> None:
    files = numbered(bench, count, DAYS)
    bench.run()
    table = bench.lake.table("bronze", "invoices")
    assert table is not None
    table.create_checkpoint()
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    table.create_checkpoint()
    log = Path(bench.lake.path("bronze", "invoices")) / "_delta_log"
    for old in sorted(log.glob("*.json")):
        os.utime(old, (1, 1))
    table.cleanup_metadata()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert not (log / "00000000000000000000.json").exists()
    changed = random.Random(1).sample(range(count), replaced)
    for n in changed:
        files[n].write_text(json.dumps({"id": n, "part": "new"}) + "\n")
        os.utime(files[n], (2e9, 2e9))
    found = scan(bench.lake, bench.landing, bench.source)
    assert found.files == len(found.changed) == replaced
    loaded = bench.run()
    assert sum(day.files for day in loaded.days.values()) == replaced
    last = read_plan(bench.lake, "invoices", plan_numbers(bench.lake, "invoices")[-1])
    assert last is not None
    assert sum(len(listed) for listed in last.files.values()) == replaced
    assert bench.rows("count(*), count(distinct id), count(*) filter (part = 'new')", "1") == [
        (2 * count - replaced, count, replaced)
    ]
    assert len(bench.quarantined()) == count - replaced
    assert bench.run().plan is None


@pytest.mark.servers
def test_a_year_with_three_bad_days_is_published_without_them(lake: Lake, settings: Settings) -> None:
    bench = Bench(None, lake, settings)
    year = [(date(2026, 1, 1) + timedelta(days=n)).isoformat() for n in range(365)]
    for n, day in enumerate(year):
        bench.drop(day, "a.csv", f"id\n{n}\n")
    bad = [year[40], year[200], year[333]]
    for day in bad:
        bench.drop(day, "b.csv.gz", gzip.compress(b"id\n1\n" * 9_000)[:-20])
    loaded = bench.run(year)
    assert sorted(loaded.failed) == bad
    assert all("b.csv.gz" in reason for reason in loaded.failed.values())
    assert bench.rows("count(*), count(distinct ds)", "1") == [(362, 362)]
    version = lake.version("bronze", "invoices")
    assert version <= 2
    for day in bad:
        bench.drop(day, "b.csv.gz", gzip.compress(b"id\nfixed\n"))
    found = scan(bench.lake, bench.landing, bench.source)
    assert sorted(found.todo) == bad
    again = bench.run(year)
    assert sorted(d for d, figures in again.days.items() if figures.files) == bad
    assert bench.rows("count(*), count(distinct ds)", "1") == [(368, 365)]
    assert lake.version("bronze", "invoices") == version + 1
    assert bench.quarantined() == []
