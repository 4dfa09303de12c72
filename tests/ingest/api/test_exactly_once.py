"""Rows come exactly once: under kills, beside a stopped driver, through faults, and over refreshes.

Judged by the mock API's own log. Counts are small here; those marked `soak` are the full ones.
"""

from __future__ import annotations

import random
import time

import psutil
import pytest

from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.table.bronze import VOLATILE
from asgard_assets.lake import Lake
from tests.fakes.mock_server import MockServer, mock_server
from tests.ingest.api.driver import DAY, Driver, items
from tests.patience import patience

FLUSH, IN_FLIGHT, WORKERS = 2_000, 64, 2
CHANGES = {"execution": {"flush_rows": FLUSH}, "limits": {"max_in_flight": IN_FLIGHT}}


def count(lake: Lake) -> tuple[int, int, int]:
    """Published rows, distinct request ids, successes."""
    with lake.connect() as connection:
        query = "select count(*), count(distinct request_id), count(*) filter (success) from bronze.usage"
        found = connection.execute(query).fetchone()
    assert found is not None
    return found


def wait_for(server: MockServer, requests: int, driver: Driver, moment: float) -> None:
    """Until the server saw so many requests, and a moment (in seconds) more."""
    deadline = time.monotonic() + patience(300)
    while server.log()["requests"] < requests and driver.process.poll() is None:
        assert time.monotonic() < deadline, driver.output.read_text()[-3000:]
        time.sleep(0.02)
    time.sleep(moment)


def kill_one_worker(server: MockServer, driver: Driver, chance: random.Random) -> bool:
    senders = [p for p in driver.tree() if str(p.pid) in server.log()["workers"]]
    for process in chance.sample(senders, min(1, len(senders))):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        return True
    return False


def kill_chain(lake: Lake, chance: random.Random, rows: int, victims: list[str], **more) -> None:
    """Kill each of `victims` at a random time while `rows` are sent; then finish. Counts rows and requests."""
    kills = 0
    with mock_server(bearer="canary-token-x") as server:
        for turn, victim in enumerate(victims):
            log = server.log()
            # Anywhere in what is left, the later kills included.
            share = (rows - log["distinct"]) / (len(victims) - turn + 1)
            driver = Driver(lake, server, rows, changes=CHANGES, **more)
            try:
                seen = log["requests"] + int(chance.uniform(0.2, 1.5) * share)
                wait_for(server, seen, driver, chance.uniform(0, 0.2))
                if victim == "driver":
                    killed = driver.process.poll() is None
                    driver.kill()
                else:
                    killed = kill_one_worker(server, driver, chance)
                    driver.finish()
                kills += killed
            finally:
                driver.end()
            if lake.version("bronze", "usage") >= 0:
                break
        if lake.version("bronze", "usage") < 0:
            last = Driver(lake, server, rows, changes=CHANGES)
            try:
                assert "failed" not in last.finish(), last.output.read_text()[-3000:]
            finally:
                last.end()
        log = server.log()
    assert kills > 0, "no kill came in time"
    assert count(lake) == (rows, rows, rows)
    assert log["distinct"] == rows
    allowed = kills * WORKERS * (FLUSH + IN_FLIGHT)
    print(f"{kills} kills in {rows} rows: {log['repeated']} requests repeated, at most {allowed} allowed")
    assert log["repeated"] <= allowed


@pytest.mark.servers
def test_a_killed_driver_repeats_no_more_than_what_was_not_written(lake, chance):
    kill_chain(lake, chance, 20_000, ["driver"])


@pytest.mark.servers
@pytest.mark.parametrize("retries", [0, 3], ids=["the run fails", "Spark tries again"])
def test_a_killed_worker_repeats_no_more_than_what_was_not_written(lake, chance, retries):
    kill_chain(lake, chance, 20_000, ["worker"], retries=retries)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
def test_twenty_kills_in_a_hundred_thousand_rows(lake, chance, part):
    kill_chain(lake, chance, 100_000, ["driver", "worker", "driver", "worker", "driver"])


@pytest.mark.servers
def test_a_driver_stopped_before_its_commit_changes_nothing(lake):
    """Two drivers on one partition; the first wakes up when the second has published."""
    with mock_server() as server:
        first = Driver(lake, server, 300, stop=True)
        try:
            process = psutil.Process(first.process.pid)
            deadline = time.monotonic() + patience(300)
            while process.status() != psutil.STATUS_STOPPED:
                assert time.monotonic() < deadline and first.process.poll() is None, first.output.read_text()[
                    -3000:
                ]
                time.sleep(0.1)
            server.set(changed=100, of=300)
            second = Driver(lake, server, 300, changes={"execution": {"resume_hours": 0}})
            try:
                assert second.finish().get("rows") == 300
            finally:
                second.end()
            before = lake.version("bronze", "usage"), lake.files("bronze", "usage"), count(lake)
            process.resume()
            assert "FencedError" in first.finish()["failed"]
        finally:
            first.end()
    assert (lake.version("bronze", "usage"), lake.files("bronze", "usage"), count(lake)) == before
    assert count(lake) == (300, 300, 300)


def through_faults(spark, lake: Lake, transport: str, rows: int) -> None:
    faults = {"p503": 5, "preset": 2, "phang": 1, "ptruncate": 1}
    with mock_server(**faults) as server:
        config = items(
            server.url,
            rows,
            transport={"type": transport, "timeouts": {"total_seconds": 2}},
            retry={"attempts": 6, "backoff_seconds": 0.02},
        )
        summary = run_pipeline(spark, config, days=[DAY], lake=lake)
        log = server.log()
    print(f"{transport}: {log}, {summary.outcomes}")
    assert min(log["503"], log["resets"], log["hangs"], log["truncated"]) > 0, "every kind of fault came"
    found, distinct, good = count(lake)
    assert (found, distinct) == (rows, rows), "0 lost, 0 twice"
    assert summary.rows == rows, "every row has an outcome"
    assert good >= rows - 2, "six tries are enough for nine faults in a hundred"
    with lake.connect() as connection:
        query = (
            "select count(*) from bronze.usage where success and body not like '{\"id\":' || user_id || ',%'"
        )
        assert connection.execute(query).fetchone() == (0,)
        query = "select count(*) from bronze.usage where success and length(body) <> 495"
        assert connection.execute(query).fetchone() == (0,)


@pytest.mark.servers
@pytest.mark.parametrize("transport", ["aiohttp", "native"])
def test_every_row_has_an_outcome_through_faults(spark, lake, monkeypatch, transport):
    monkeypatch.setenv("TEST_TOKEN", "canary-token-x")
    through_faults(spark, lake, transport, 3_000)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("transport", ["aiohttp", "native"])
def test_every_row_of_a_hundred_thousand_has_an_outcome_through_faults(spark, lake, monkeypatch, transport):
    monkeypatch.setenv("TEST_TOKEN", "canary-token-x")
    through_faults(spark, lake, transport, 100_000)


@pytest.mark.servers
@pytest.mark.parametrize("transport", ["aiohttp", "native"])
def test_fifty_changed_records_change_fifty_rows(spark, lake, monkeypatch, transport):
    monkeypatch.setenv("TEST_TOKEN", "canary-token-x")

    def run(server: MockServer) -> dict[int, str]:
        config = items(server.url, 10_000, transport={"type": transport})
        assert run_pipeline(spark, config, days=[DAY], lake=lake).succeeded == 10_000
        with lake.connect() as connection:
            table = connection.execute("select * from bronze.usage").to_arrow_table()
        kept = [name for name in table.column_names if name not in VOLATILE]
        return {row["user_id"]: str(row) for row in table.select(kept).to_pylist()}

    with mock_server() as server:
        first = run(server)
        server.set(changed=50, of=10_000)
        second = run(server)
        third = run(server)
        assert server.log()["requests"] == 30_000
    assert sum(second[user] != first[user] for user in first) == 50
    assert third == second
