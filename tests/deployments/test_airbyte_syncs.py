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

from deployments.local.airbyte.connector import Limits
from deployments.local.airbyte.jobs import Checkpoint, Store
from deployments.local.airbyte.syncs import ATTEMPTS, Conflict, Paused
from tests.fakes.airbyte import Fake, landed, only_id, run, start, wait
from tests.patience import patience


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + patience(seconds)
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


def test_an_incremental_sync_goes_on_where_the_last_one_ended(fake):
    assert run(fake.open({"rows": 2}, sync="incremental_append")).records == 2
    assert run(fake.open({"rows": 4, "mode": "exit"}, sync="incremental_append")).status == "failed"
    assert run(fake.open({"rows": 5}, sync="incremental_append")).records == 1
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
        ("killed while its workers tell", "killed by SIGKILL"),
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
    syncs = fake.open({"mode": "hang"}, limits=Limits(seconds=1))
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


def test_a_job_that_a_stopped_server_left_is_taken_up_by_the_next(fake):
    syncs = fake.open({"mode": "hang"})
    job = start(syncs)
    pid = worker(fake)
    syncs.stop()
    until(lambda: not alive(pid))
    again = fake.open({"rows": 3})
    again.resume()
    ended = wait(again, job)
    assert (ended.status, ended.attempt) == ("succeeded", 2)
    assert [row["id"] for row in fake.rows()] == [1, 2, 3]


def test_a_job_that_ends_the_server_each_time_is_given_up(fake):
    syncs = fake.open({"mode": "hang"})
    job = start(syncs)
    for _ in range(ATTEMPTS):
        worker(fake)
        syncs.stop()
        fake.state.joinpath("logs", "00000001.log").unlink()
        syncs = fake.open({"mode": "hang"})
        syncs.resume()
    ended = syncs.store.job(job.id)
    assert ended.status == "failed" and "server ended 5 times" in ended.reason


def test_a_stream_that_the_source_lacks_fails_the_job_and_names_what_there_is(fake):
    job = run(fake.open(streams=("invoices",)))
    assert "no stream invoices; it has orders, users" in job.reason


def test_a_killed_server_leaves_no_process_and_its_job_goes_on_where_it_was(fake):
    """The server's process is killed outright in the middle of a sync; leash and workers end with it."""
    config = {"mode": "break", "how": "hang", "rows": 9, "at": 5, "state_every": 2}
    script = (
        "import sys, time; from pathlib import Path; from tests.fakes.airbyte import Fake, start;"
        f"start(Fake(Path(sys.argv[1])).open({config!r}, sync='incremental_append', checkpoint_seconds=0));"
        "time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", script, str(fake.folder)])
    pid = worker(fake)
    server.kill()
    server.wait()
    until(lambda: not alive(pid))
    assert [row["id"] for row in fake.rows()] == [1, 2, 3, 4], "the record after the last state is not landed"
    assert list(fake.landing.glob(".sync-*"))
    syncs = fake.open({"rows": 6}, sync="incremental_append")
    assert not list(fake.landing.glob(".sync-*"))
    syncs.resume()
    (job,) = syncs.store.jobs()
    ended = wait(syncs, job)
    assert (ended.status, ended.records, ended.attempt) == ("succeeded", 6, 2)
    assert sorted(row["id"] for row in fake.rows()) == [1, 2, 3, 4, 5, 6]


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
        patched.setattr(Store, "finish", crash)
        job = start(syncs)
        until(lambda: not syncs.store.job(job.id).active)
    again = fake.open({"rows": 3})
    assert [job.status for job in again.store.jobs()] == ["succeeded", "succeeded"]
    assert [row["id"] for row in fake.rows()] == [1, 2, 3]
    assert len(fake.files()) == 1
    assert again.store.checkpoint(seen["job"]["connection_id"]) == Checkpoint(**seen["checkpoint"])
    assert not list((fake.state / "commits").iterdir())


# Checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["garbage", "exit", "error", "killed", "malformed record", "not a message"])
def test_a_failed_incremental_sync_keeps_what_its_last_state_covers(fake, how):
    config = {"rows": 9, "state_every": 2, "mode": "break", "how": how, "at": 5}
    job = run(fake.open(config, sync="incremental_append"))
    assert job.status == "failed" and job.reason
    assert job.records == 4, "the fifth record came after the last state"
    assert [row["id"] for row in fake.rows()] == [1, 2, 3, 4]
    again = run(fake.open({"rows": 9}, sync="incremental_append"))
    assert (again.status, again.records) == ("succeeded", 5)
    assert [row["id"] for row in fake.rows()] == list(range(1, 10))


@pytest.mark.parametrize("kind", ["JSONL", "Parquet"])
def test_a_cut_file_holds_the_covered_records_in_every_format(fake, kind):
    config = {"rows": 9, "state_every": 4, "mode": "break", "how": "exit", "at": 7}
    run(fake.open(config, sync="incremental_append", format={"format_type": kind}))
    rows = fake.rows()
    found = [(row.get("_airbyte_data") or row)["id"] for row in rows]
    assert found == [1, 2, 3, 4]


def test_a_running_sync_lands_what_is_covered_and_each_record_once(fake):
    job = run(fake.open({"rows": 10, "state_every": 3}, sync="incremental_append", checkpoint_seconds=0))
    assert [path.name.rsplit("_", 1)[1] for path in fake.files()] == [f"{n}.jsonl.gz" for n in range(4)]
    assert len({path.name.rsplit("_", 1)[0] for path in fake.files()}) == 1, "one epoch a sync"
    assert [row["id"] for row in fake.rows()] == list(range(1, 11))
    assert job.streams["users"]["records"] == 10


def test_a_checkpoint_of_one_stream_does_not_cut_another(fake):
    """Streams may interleave: the state of one says nothing about the other."""
    syncs = fake.open(
        {"rows": 5, "state_every": 2},
        sync="incremental_append",
        streams=("users", "orders"),
        checkpoint_seconds=0,
    )
    assert run(syncs).status == "succeeded"
    assert (
        [row["id"] for row in fake.rows("users")]
        == [row["id"] for row in fake.rows("orders")]
        == [1, 2, 3, 4, 5]
    )


def test_a_full_refresh_is_landed_whole_or_not_at_all(fake):
    config = {"rows": 9, "state_every": 2, "mode": "break", "how": "exit", "at": 5}
    for sync in ("full_refresh_overwrite", "full_refresh_append"):
        assert run(fake.open(config, sync=sync, checkpoint_seconds=0)).status == "failed"
        assert fake.files() == []


def test_an_empty_full_refresh_leaves_an_empty_file_in_place_of_the_old_ones(fake):
    run(fake.open({"rows": 3}))
    assert run(fake.open({"rows": 0})).status == "succeeded"
    assert len(fake.files()) == 1 and fake.rows() == []


def test_a_cancelled_incremental_sync_keeps_its_checkpoints(fake):
    config = {"mode": "break", "how": "hang", "rows": 9, "at": 5, "state_every": 2}
    syncs = fake.open(config, sync="incremental_append")
    job = start(syncs)
    worker(fake)
    assert syncs.cancel(job.id).status == "cancelled"
    assert [row["id"] for row in fake.rows()] == [1, 2, 3, 4]


# What a connector must not get away with -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "limits", "reason"),
    [
        ("endless records", Limits(output_bytes=200_000), "said more than 200,000 bytes"),
        ("endless line", Limits(output_bytes=200_000_000), "longer than 64 MiB"),
        ("refused", Limits(), "`check` failed: the password is wrong"),
    ],
)
def test_a_connector_that_does_not_end_or_may_not_begin_fails_with_the_reason(fake, mode, limits, reason):
    job = run(fake.open({"mode": mode, "rows": 1}, limits=limits))
    assert job.status == "failed" and reason in job.reason
    assert fake.files() == []


def test_a_log_without_end_is_cut_and_holds_nothing_up(fake):
    job = run(fake.open({"mode": "endless log", "rows": 1}, limits=Limits(log_bytes=50_000)))
    log = fake.state / "logs" / "00000001.log"
    assert job.status == "succeeded"
    assert log.stat().st_size < 51_000 and b"the log is cut here" in log.read_bytes()


def test_a_paused_connection_is_not_synced(fake):
    syncs = fake.open(status="inactive")
    with pytest.raises(Paused, match="fake is not active"):
        start(syncs)
    assert syncs.store.jobs() == []


# Formats -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "suffix"),
    [
        ({"format_type": "JSONL", "flattening": "Root level flattening"}, ".jsonl.gz"),
        ({"format_type": "JSONL", "flattening": "No flattening"}, ".jsonl.gz"),
        ({"format_type": "JSONL", "compression": {"compression_type": "No Compression"}}, ".jsonl"),
        ({"format_type": "Parquet", "compression_codec": "GZIP"}, ".parquet"),
    ],
)
def test_each_format_lands_the_same_records(fake, given, suffix):
    run(fake.open({"rows": 3}, format=given))
    (path,) = fake.files()
    assert path.name.endswith(suffix)
    for number, row in enumerate(fake.rows(), 1):
        assert {"_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id"} < set(
            row
        )
        data = row["_airbyte_data"] if "_airbyte_data" in row else row
        assert (data["id"], data["name"]) == (number, f"users {number}")


def test_parquet_has_the_streams_types_and_names_what_it_could_not_hold(fake):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = fake.folder / "users.json"
    stamp = "2026-10-05T10:00:00Z"
    table.write_text(
        json.dumps([{"id": 1, "name": "a", "at": stamp}, {"id": "x", "name": None, "at": "noon"}])
    )
    run(fake.open({"table": str(table)}, format={"format_type": "Parquet"}))
    schema = pq.read_schema(fake.files()[0])
    assert (schema.field("id").type, schema.field("at").type) == (pa.int64(), pa.timestamp("us", "UTC"))
    good, bad = landed(fake.landing / "users")
    assert (good["id"], good["at"].isoformat()) == (1, "2026-10-05T10:00:00+00:00")
    assert (bad["id"], bad["at"]) == (None, None)
    assert [change["field"] for change in bad["_airbyte_meta"]["changes"]] == ["id", "at"]


def test_what_the_workspace_file_declares_can_be_paused_and_stays_so(fake):
    from dataclasses import replace

    syncs = fake.open()
    known = syncs.registry.connections[only_id(syncs)]
    syncs.registry.change_connection(replace(known, status="inactive"))
    assert not fake.open().registry.connections[known.id].active
