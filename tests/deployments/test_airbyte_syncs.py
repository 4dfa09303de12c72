"""Syncs over a fake source that runs as a real subprocess: what lands, what fails, what survives a crash."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.local.airbyte.jobs import Checkpoint, Store
from deployments.local.airbyte.syncs import Conflict
from tests.fakes.airbyte import Fake, run, start, wait


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def worker(fake: Fake) -> int:
    """Process number of the hanging source's own child, as it wrote it into the job's log."""
    log = fake.state / "logs" / "00000001.log"
    until(lambda: log.exists() and "worker" in log.read_text())
    found = re.search(r"worker (\d+)", log.read_text())
    assert found
    return int(found[1])


def test_streams_land_as_airbytes_s3_destination_lays_them_out(fake):
    job = run(fake.open({"rows": 3}, streams=("users", "orders")))
    assert (job.status, job.records, job.streams["users"]["records"]) == ("succeeded", 6, 3)
    (path,) = fake.files("users")
    assert re.fullmatch(r"2026_10_05_\d{13}_0\.jsonl\.gz", path.name)
    first = fake.rows("users")[0]
    assert list(first)[:4] == [
        "_airbyte_raw_id",
        "_airbyte_extracted_at",
        "_airbyte_meta",
        "_airbyte_generation_id",
    ]
    assert first["_airbyte_meta"] == {"sync_id": 1, "changes": []}
    assert first["_airbyte_extracted_at"] == 1_795_000_000_001
    assert (first["id"], first["name"]) == (1, "users 1")


def test_a_full_refresh_replaces_the_files_of_the_one_before(fake):
    syncs = fake.open({"rows": 3})
    run(syncs)
    before = fake.files()
    run(syncs)
    assert [row["id"] for row in fake.rows()] == [1, 2, 3]
    assert len(fake.files()) == 1 and fake.files() > before
    assert {row["_airbyte_generation_id"] for row in fake.rows()} == {2}


def test_appending_keeps_the_files_of_earlier_syncs(fake):
    syncs = fake.open({"rows": 2}, sync="full_refresh_append")
    run(syncs)
    run(syncs)
    assert [row["id"] for row in fake.rows()] == [1, 2, 1, 2]


def test_an_incremental_sync_goes_on_where_the_last_successful_one_ended(fake):
    assert run(fake.open({"rows": 2}, sync="incremental_append")).records == 2
    assert run(fake.open({"rows": 4, "mode": "exit"}, sync="incremental_append")).status == "failed"
    assert run(fake.open({"rows": 5}, sync="incremental_append")).records == 3
    assert [row["id"] for row in fake.rows()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("garbage", "line 5 of its output is no JSON: 'Traceback"),
        ("not a message", "line 5 of its output is no Airbyte message"),
        ("exit", "exited with code 3"),
        ("error", r"exited with code 1: no such table \(config_error\)"),
        ("error but exit 0", r"gave up \(system_error\)"),
        ("killed", "killed by SIGKILL"),
        ("unknown stream", "record of unknown stream nobody"),
        ("malformed record", "malformed message"),
        ("incomplete", "ended without completing users"),
    ],
)
def test_a_source_that_misbehaves_fails_its_job_with_the_reason_and_lands_nothing(fake, mode, reason):
    run(fake.open({"rows": 1}))
    landed = fake.files()
    job = run(fake.open({"rows": 1, "mode": mode}))
    assert job.status == "failed"
    assert re.search(reason, job.reason)
    assert fake.files() == landed
    assert os.listdir(fake.landing) == ["users"]


def test_a_source_that_never_ends_is_killed_with_its_workers(fake):
    syncs = fake.open({"mode": "hang"}, timeout_seconds=1)
    job = start(syncs)
    pid = worker(fake)
    assert "no end after 1 s" in wait(syncs, job).reason
    until(lambda: not alive(pid))


def test_cancelling_kills_the_source_and_lands_nothing(fake):
    syncs = fake.open({"mode": "hang"})
    job = start(syncs)
    pid = worker(fake)
    assert syncs.cancel(job.id).status == "cancelled"
    until(lambda: not alive(pid))
    assert fake.files() == []


def test_cancelling_a_job_that_has_ended_changes_nothing(fake):
    syncs = fake.open()
    job = run(syncs)
    assert syncs.cancel(job.id) == job


def test_a_connection_runs_one_sync_at_a_time(fake):
    syncs = fake.open({"mode": "hang"})
    job = start(syncs)
    with pytest.raises(Conflict, match="job 1"):
        start(syncs)
    syncs.cancel(job.id)
    assert start(syncs).id == 2
    syncs.stop()


def test_a_stopped_server_fails_its_jobs_and_says_why(fake):
    syncs = fake.open({"mode": "hang"})
    job = start(syncs)
    worker(fake)
    syncs.stop()
    assert "server was stopped" in wait(syncs, job).reason


def test_a_stream_that_the_source_lacks_fails_the_job_and_names_what_there_is(fake):
    job = run(fake.open(streams=("invoices",)))
    assert "no stream invoices; it has orders, users" in job.reason


def test_nothing_of_a_killed_server_stays_and_its_job_is_failed(fake):
    """The server's process is killed outright in the middle of a sync; leash and workers end with it."""
    script = (
        "import sys, time; from pathlib import Path; from tests.fakes.airbyte import Fake, start;"
        "start(Fake(Path(sys.argv[1])).open({'mode': 'hang'})); time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", script, str(fake.folder)])
    pid = worker(fake)
    server.kill()
    server.wait()
    until(lambda: not alive(pid))
    assert list(fake.landing.glob(".sync-*"))
    syncs = fake.open()
    assert not list(fake.landing.glob(".sync-*"))
    (job,) = syncs.store.jobs()
    assert job.status == "failed" and "server stopped" in job.reason


@pytest.mark.parametrize("done", ["nothing", "renamed", "removed"])
def test_a_commit_that_a_crash_interrupted_is_finished_at_the_next_start(fake, monkeypatch, done):
    syncs = fake.open({"rows": 3})
    run(syncs)
    seen = {}

    def crash(store: Store, path: Path) -> None:
        seen.update(json.loads(path.read_text()))
        ((hidden, shown),) = seen["move"]["renames"]
        if done in ("renamed", "removed"):
            os.replace(hidden, shown)
        if done == "removed":
            os.unlink(seen["move"]["removals"][0])
        raise OSError("the machine lost power")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_finish", crash)
        job = start(syncs)
        until(lambda: not syncs.store.job(job.id).active)
    again = fake.open({"rows": 3})
    assert [job.status for job in again.store.jobs()] == ["succeeded", "succeeded"]
    assert [row["id"] for row in fake.rows()] == [1, 2, 3]
    assert len(fake.files()) == 1
    assert again.store.checkpoint(seen["job"]["connection_id"]) == Checkpoint(**seen["checkpoint"])
    assert not list((fake.state / "commits").iterdir())
