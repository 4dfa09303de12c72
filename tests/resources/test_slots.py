"""Pools of local runs: one at a time, and a killed run keeps none."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg

from asgard_assets.resources.home import prepare_home
from asgard_assets.resources.local.slots import alive, free_slots_of_the_dead
from asgard_assets.settings import Settings
from tests.checkout import ROOT
from tests.patience import patience

HOLDER = """
import sys
import dagster as dg
from asgard_assets.resources.local.slots import alive
with dg.DagsterInstance.from_config(sys.argv[1]) as instance, alive(instance, "killed"):
    instance.event_log_storage.initialize_concurrency_limit_to_default("api:x")
    print(instance.event_log_storage.claim_concurrency_slot("api:x", "killed", "step").is_claimed, flush=True)
    sys.stdin.read()
"""


def claims(instance: dg.DagsterInstance, run_id: str) -> bool:
    return instance.event_log_storage.claim_concurrency_slot("api:x", run_id, "step").is_claimed


def test_the_slot_of_a_run_that_was_killed_is_free_without_a_daemon(settings: Settings):
    home = prepare_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout is not None and holder.stdout.readline().strip() == "True"
        folder = Path(instance.storage_directory()).parent / "running"
        assert not claims(instance, "next")
        assert free_slots_of_the_dead(instance, folder) == []
        assert not claims(instance, "next")
        holder.send_signal(signal.SIGKILL)
        holder.wait(patience(30))
        with alive(instance, "next"):
            assert claims(instance, "next")
        assert list(folder.iterdir()) == []


def test_a_run_that_waits_frees_the_slot_of_one_that_is_killed_meanwhile(settings: Settings):
    home = prepare_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout is not None and holder.stdout.readline().strip() == "True"
        with alive(instance, "next", seconds=0.05):
            assert not claims(instance, "next")
            holder.send_signal(signal.SIGKILL)
            holder.wait(patience(30))
            from tests.patience import wait_until

            wait_until(lambda: claims(instance, "next"), 30, "the slot is free")
