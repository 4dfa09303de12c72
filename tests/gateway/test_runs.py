"""Runs of transforms: their queue, and what is told of them, without Dagster's own processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets.operations.runs import TAG
from asgard_assets.operations.transforms.follow import Runs
from asgard_assets.operations.transforms.queue import Queue
from asgard_assets.operations.transforms.submissions import Outcome, Submission, Submissions
from tests.checkout import ROOT


def submitted(submissions: Submissions, *run_ids: str) -> list[Submission]:
    found = [Submission(run_id, "silver/daily", 1, float(number)) for number, run_id in enumerate(run_ids)]
    assert all(submissions.add(one) for one in found)
    return found


class Workers:
    """Workers that end when they are told to."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.codes: dict[str, int | None] = {}

    def __call__(self, one: Submission) -> Any:
        self.started.append(one.run_id)
        self.codes[one.run_id] = None
        return Worker(self, one.run_id)


class Worker:
    def __init__(self, workers: Workers, run_id: str) -> None:
        self._workers, self._run_id = workers, run_id

    def poll(self) -> int | None:
        return self._workers.codes[self._run_id]

    @property
    def returncode(self) -> int | None:
        return self.poll()


def test_runs_start_one_after_the_other_the_oldest_first(tmp_path: Path):
    submissions, workers = Submissions(tmp_path), Workers()
    submitted(submissions, "aaaaaaaa", "bbbbbbbb")
    queue = Queue(submissions, workers)
    queue.tick()
    queue.tick()
    assert workers.started == ["aaaaaaaa"]
    submissions.finish("aaaaaaaa", Outcome(True, 9.0))
    workers.codes["aaaaaaaa"] = 0
    queue.tick()
    assert workers.started == ["aaaaaaaa", "bbbbbbbb"]


def test_a_worker_that_another_gateway_has_started_is_left_alone(tmp_path: Path):
    submissions, workers = Submissions(tmp_path), Workers()
    submitted(submissions, "aaaaaaaa")
    with submissions.claimed("aaaaaaaa") as mine:
        assert mine
        Queue(submissions, workers).tick()
    assert workers.started == []
    Queue(submissions, workers).tick()
    assert workers.started == ["aaaaaaaa"]


def test_a_worker_that_cannot_start_is_a_failed_run_and_one_that_was_killed_is_looked_at_again(
    tmp_path: Path,
):
    submissions, workers = Submissions(tmp_path), Workers()
    submitted(submissions, "aaaaaaaa", "bbbbbbbb")
    queue = Queue(submissions, workers)
    queue.tick()
    workers.codes["aaaaaaaa"] = 1
    queue.tick()
    outcome = submissions.outcome("aaaaaaaa")
    assert outcome is not None and not outcome.ok and "exit code 1" in outcome.reasons[0]
    workers.codes["bbbbbbbb"] = -9
    queue.tick()
    assert workers.started == ["aaaaaaaa", "bbbbbbbb", "bbbbbbbb"]


def test_a_worker_that_came_second_leaves_the_run_to_the_first(tmp_path: Path):
    submissions, workers = Submissions(tmp_path / "gateway" / "runs"), Workers()
    submitted(submissions, "aaaaaaaa")
    queue = Queue(submissions, workers)
    queue.tick()
    with submissions.claimed("aaaaaaaa"):
        ended = subprocess.run(
            [sys.executable, "-m", "asgard_assets.operations.transforms.worker", "aaaaaaaa"],
            env={**os.environ, "ASGARD_HOME": str(tmp_path)}, cwd=ROOT, check=False,
        )  # fmt: skip
        workers.codes["aaaaaaaa"] = ended.returncode
        queue.tick()
    assert submissions.outcome("aaaaaaaa") is None and workers.started == ["aaaaaaaa"]


def test_one_run_id_is_submitted_once(tmp_path: Path):
    submissions = Submissions(tmp_path)
    [one] = submitted(submissions, "aaaaaaaa")
    assert not submissions.add(one)
    assert submissions.get("../x") is None and submissions.get("aaaaaaaa") == one


def test_a_run_has_ended_once_its_worker_has_told_how(tmp_path: Path):
    submissions = Submissions(tmp_path)
    submitted(submissions, "aaaaaaaa")

    @dg.op
    def fails() -> None:
        raise ValueError("no such column: amount")

    @dg.job(tags={TAG: "aaaaaaaa"})
    def run() -> None:
        fails()

    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(submissions, instance, fresh_seconds=0)
        assert runs.status("aaaaaaaa").state == "SUBMITTED"
        run.execute_in_process(instance=instance, raise_on_error=False)
        assert runs.status("aaaaaaaa").state == "RUNNING"
        submissions.finish("aaaaaaaa", Outcome(False, 9.0, 8.0, 7.0, 6, ("silver/daily: no such column",)))
        status = runs.status("aaaaaaaa")
        assert (status.state, status.reason) == ("FAILED", "silver/daily: no such column")
        assert runs.figures("aaaaaaaa").memory_bytes == 6
        page = runs.events("aaaaaaaa", limit=2)
        assert len(page.events) == 2 and page.more
        lines = [event.line for event in runs.events("aaaaaaaa", page.cursor).events]
        assert any("RUN_FAILURE" in line for line in lines)
        assert any("no such column: amount" in line for line in lines)
        totals = runs.totals()
        assert (totals.total, totals.by_state["FAILED"], totals.success_rate) == (1, 1, 0.0)
        assert totals.queue_depth == 0


def test_the_status_of_a_run_that_goes_on_is_read_every_two_seconds(tmp_path: Path):
    submissions, now = Submissions(tmp_path), [1_800_000_000.0]
    submitted(submissions, "aaaaaaaa")
    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(submissions, instance, clock=lambda: now[0])
        assert runs.known("aaaaaaaa") is None
        first = runs.status("aaaaaaaa")
        assert (first.state, first.as_of) == ("SUBMITTED", "2027-01-15T08:00:00Z")
        submissions.finish("aaaaaaaa", Outcome(True, 9.0))
        now[0] += 1.9
        assert runs.known("aaaaaaaa") == runs.status("aaaaaaaa") == first
        assert runs.known("aaaaaaaa", lambda _: False) is None
        now[0] += 0.2
        assert runs.known("aaaaaaaa") is None
        assert runs.status("aaaaaaaa").state == "COMPLETED"
        now[0] += 1000
        assert runs.known("aaaaaaaa") == runs.status("aaaaaaaa")
