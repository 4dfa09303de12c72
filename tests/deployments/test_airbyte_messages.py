"""Connectors of other kinds than the usual: what they may say, what fails their job, what they send back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployments.local.airbyte.connector import Limits
from deployments.local.airbyte.syncs import Syncs
from tests.fakes.airbyte import Fake, only_id, run

pytestmark = pytest.mark.slow


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("not utf-8", "line 5 of its output is no JSON: .*\N{REPLACEMENT CHARACTER}"),
        ("half a line", "line 5 of its output is no JSON"),
        ("no time", "malformed message: KeyError\\('emitted_at'\\)"),
        ("unknown state", "its state is of type PARTIAL, which this platform does not know"),
        ("goes on in silence", "no end after 2 s, so it was killed"),
    ],
)
def test_what_cannot_be_understood_fails_the_job_with_the_reason(fake, mode, reason):
    limits = Limits(seconds=2) if mode == "goes on in silence" else None
    job = run(fake.open({"rows": 1, "mode": mode}, limits=limits))
    assert job.status == "failed" and re.search(reason, job.reason), job.reason
    assert fake.files() == []


def test_what_is_not_meant_for_this_server_is_passed_over(fake):
    job = run(fake.open({"rows": 2, "mode": "chatter"}))
    assert (job.status, job.records) == ("succeeded", 2), job.reason
    assert "a level, ? and with half a character" in (fake.state / "logs" / "00000001.log").read_text()


def test_a_source_that_trickles_is_waited_for(fake):
    config = {"rows": 5, "pause": 0.2, "state_every": 1}
    job = run(fake.open(config, sync="incremental_append", checkpoint_seconds=0))
    assert (job.status, job.records) == ("succeeded", 5) and len(fake.files()) == 5


@pytest.mark.parametrize("kind", ["stream", "global", "legacy"])
def test_a_sync_goes_on_from_every_kind_of_state(fake, kind):
    config = {"rows": 9, "state_every": 2, "states": kind, "mode": "break", "how": "exit", "at": 5}
    chosen = {"sync": "incremental_append", "streams": ("users", "orders")}
    job = run(fake.open(config, **chosen))
    assert job.status == "failed" and [row["id"] for row in fake.rows()] == [1, 2, 3, 4]
    for rows in (9, 9, 11):
        job = run(fake.open({"rows": rows, "states": kind}, **chosen))
        assert job.status == "succeeded", job.reason
    for stream in chosen["streams"]:
        assert [row["id"] for row in fake.rows(stream)] == list(range(1, 12))


def test_a_token_that_serves_once_is_kept_for_the_next_command_and_the_next_server(fake):
    vault = fake.folder / "vault"
    vault.write_text("t")
    config = {"rows": 1, "vault": str(vault), "token": "t"}

    def opened() -> Syncs:
        return fake.open(config)

    for _ in range(2):  # each server runs `check` and `read`, or `read` alone
        syncs = opened()
        for _ in range(2):
            job = run(syncs)
            assert job.status == "succeeded", job.reason
    assert vault.read_text() == "t+++++"
    (kept,) = (fake.state / "resources" / "configurations").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    config["token"] = vault.read_text()  # what the file declares anew counts
    config["rows"] = 2
    assert run(opened()).records == 2


def test_columns_that_a_source_gained_are_seen_within_a_day_or_when_asked_for(fake, monkeypatch):
    syncs = fake.open({"rows": 1})
    source = syncs.registry.connections[only_id(syncs)].source_id
    before = syncs.discover(source)
    fake.command.write_text(fake.command.read_text().replace("exec", "COLUMN=extra exec"))
    assert syncs.discover(source) == before
    (users, _) = syncs.discover(source, anew=True)
    assert "extra" in users["json_schema"]["properties"]
    fake.command.write_text(fake.command.read_text().replace("COLUMN=extra", ""))
    monkeypatch.setattr("deployments.local.airbyte.syncs.CATALOG_SECONDS", 0)
    assert syncs.discover(source) == before
