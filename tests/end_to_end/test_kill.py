"""`kill -9` at a random moment in any stage, then again: the same tables as an undisturbed run."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.end_to_end.homes import Demo, Home, fingerprint, materialize_arguments

DAYS = "2026-10-05...2026-11-01"
# Stage: what is made again, its partitions, and within how many seconds it is killed.
STAGES = {
    "bronze": ('key:"bronze/usage",key:"bronze/invoices"', DAYS, 45),
    "silver": ("group:silver", DAYS, 45),
    "gold": ("group:gold", DAYS, 25),
    "features": ('key:"features/online"', "", 14),
    "model": ('key:"model/churn_predictions"', DAYS, 22),
}


def kill_then_finish(home: Home, stage: str, after: float, chance: random.Random) -> str:
    """Materialize a stage, kill the whole process tree after `after` seconds, materialize it again.

    A run that ends before its kill is undone and started anew, with a kill at a random moment of what it took.
    """
    select, partitions, _ = STAGES[stage]
    while True:
        forget_tables(home, stage)
        began = time.monotonic()
        process = home.start("dagster", *materialize_arguments(select, partitions))
        while process.poll() is None and time.monotonic() < began + after:
            time.sleep(0.05)
        if process.poll() is None:
            break
        assert process.returncode == 0
        after = chance.uniform(2, time.monotonic() - began)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = home.materialize(select, partitions)
    assert again.returncode == 0, again.stderr[-3000:]
    return f"killed after {after:.1f} s"


def forget_tables(home: Home, stage: str) -> None:
    """Drop what the stage wrote, so that the killed run is the first one."""
    if stage == "bronze":
        shutil.rmtree(home.path / "lake" / "bronze" / "usage")
        shutil.rmtree(home.path / "lake" / "bronze" / "invoices")
    elif stage == "model":
        shutil.rmtree(home.path / "lake" / "model" / "churn_predictions")
    elif stage == "features":
        (home.path / "feast" / "online.db").unlink()
    else:
        shutil.rmtree(home.path / "lake" / stage)
        if stage == "silver":
            shutil.rmtree(home.path / "lake" / "rejected", ignore_errors=True)


def check(home: Home, stage: str, after: float, expected: dict[str, tuple[int, str]], api, chance) -> None:
    if stage == "bronze":
        api(home)
    began = time.monotonic()
    ended = kill_then_finish(home, stage, after, chance)
    print(f"{stage}: {ended}, whole after {time.monotonic() - began:.0f} s")
    assert state(home) == expected, f"{stage}: {ended}"


def state(home: Home) -> dict[str, tuple[int, str]]:
    """Rows and hash of every table, those of the online store included."""
    found = fingerprint(home.lake)
    with closing(sqlite3.connect(home.path / "feast" / "online.db")) as store:
        for (table,) in store.execute("select name from sqlite_master where type = 'table'").fetchall():
            rows = store.execute(
                f'select entity_key, feature_name, value, event_ts from "{table}"'
            ).fetchall()
            found[f"online/{table}"] = len(rows), hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()
    return found


@pytest.fixture(scope="session")
def undisturbed(demo: Demo) -> dict[str, tuple[int, str]]:
    return state(demo)


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_is_finished_by_running_it_again(
    stage: str, copy_of_demo: Home, undisturbed, demo_api, chance: random.Random
):
    check(copy_of_demo, stage, chance.uniform(3, STAGES[stage][2] / 2), undisturbed, demo_api, chance)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_ten_times(
    stage: str, turn: int, copy_of_demo: Home, undisturbed, demo_api, chance: random.Random
):
    longest = STAGES[stage][2]
    after = 2 + turn * longest / 10 + chance.uniform(0, longest / 10)
    check(copy_of_demo, stage, after, undisturbed, demo_api, chance)
