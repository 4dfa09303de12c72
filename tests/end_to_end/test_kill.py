"""`kill -9` at a random moment in any stage, then again: the same tables as an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from tests.end_to_end.homes import Home, fingerprint, materialize_arguments

DAYS = "2026-10-05...2026-11-01"
# Stage: what is made again, its partitions, and how long an undisturbed run of it takes at most.
STAGES = {
    "bronze": ('key:"bronze/usage",key:"bronze/invoices"', DAYS, 60),
    "silver": ("group:silver", DAYS, 60),
    "gold": ("group:gold", DAYS, 40),
    "features": ('key:"features/online"', "", 40),
    "model": ('key:"model/churn_predictions"', DAYS, 40),
}


def kill_then_finish(home: Home, stage: str, after: float) -> str:
    """Materialize a stage, kill the whole process tree after `after` seconds, materialize it again."""
    select, partitions, _ = STAGES[stage]
    process = home.start("dagster", *materialize_arguments(select, partitions))
    deadline = time.monotonic() + after
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    ended = "ended before the kill" if process.poll() is not None else f"killed after {after:.1f} s"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    again = home.materialize(select, partitions)
    assert again.returncode == 0, again.stderr[-3000:]
    return ended


def forget_tables(home: Home, stage: str) -> None:
    """Drop what the stage wrote, so that the killed run is the first one."""
    if stage == "bronze":
        shutil.rmtree(home.path / "lake" / "bronze" / "usage")
        shutil.rmtree(home.path / "lake" / "bronze" / "invoices")
    elif stage == "model":
        shutil.rmtree(home.path / "lake" / "model" / "churn_predictions")
    elif stage != "features":
        shutil.rmtree(home.path / "lake" / stage)
        if stage == "silver":
            shutil.rmtree(home.path / "lake" / "rejected", ignore_errors=True)


def check(home: Home, stage: str, after: float, servers) -> None:
    expected = fingerprint(home.lake)
    if stage == "bronze":
        servers(home)
    forget_tables(home, stage)
    ended = kill_then_finish(home, stage, after)
    print(f"{stage}: {ended}")
    assert fingerprint(home.lake) == expected, f"{stage}: {ended}"


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_is_finished_by_running_it_again(stage: str, copy_of_demo: Home, demo_servers):
    check(copy_of_demo, stage, random.uniform(3, STAGES[stage][2] / 2), demo_servers)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_ten_times(stage: str, turn: int, copy_of_demo: Home, demo_servers):
    longest = STAGES[stage][2]
    check(copy_of_demo, stage, 2 + turn * longest / 10 + random.uniform(0, longest / 10), demo_servers)
