"""The engine against a real HTTP server, from Spark's own worker processes."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.http.bodies import get
from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.table.bronze import VOLATILE
from asgard_assets.lake import Lake
from tests.fakes.rest_api import TOKEN, RestApi, serving
from tests.ingest.api.sources import TICKETS, USAGE, put_users, source

DAYS = ["2026-10-05", "2026-10-06", "2026-10-07"]
DAY = DAYS[0]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestApi]:
    with serving() as server:
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def rows(lake: Lake, table: str = "bronze.usage") -> list[dict]:
    with lake.connect() as connection:
        return connection.execute(f"select * from {table}").to_arrow_table().to_pylist()


def business_hash(lake: Lake) -> str:
    """Hash of the sorted business columns."""
    kept = sorted(
        json.dumps({k: v for k, v in row.items() if k not in VOLATILE}, sort_keys=True, default=str)
        for row in rows(lake)
    )
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


@pytest.mark.slow
def test_a_range_is_one_job_and_every_row_lands_once(spark, lake, api):
    put_users(lake, 100)
    api.latency = 0.02
    summary = run_pipeline(spark, source(USAGE), days=DAYS, lake=lake)
    found = rows(lake)
    assert len(found) == len({row["request_id"] for row in found}) == summary.rows == 300
    assert {(r["user_id"], r["ds"]) for r in found} == {(u, d) for u in range(1, 101) for d in DAYS}
    assert all(json.loads(r["body"])["user_id"] == r["user_id"] for r in found)
    assert summary.requests == sum(api.requests.values()) == 300
    assert summary.version == 1, "one commit publishes the range"
    # Spark's workers send, many at once; the driver does not.
    assert api.max_in_flight >= 32
    assert api.workers == {str(pid) for pid in summary.workers}
    assert str(os.getpid()) not in api.workers


@pytest.mark.slow
def test_small_and_old_buffers_lose_and_repeat_nothing(spark, lake, api):
    put_users(lake, 150)
    api.latency = 0.02
    config = source(USAGE, execution={"flush_rows": 14, "flush_seconds": 0.03}, limits={"max_in_flight": 5})
    run_pipeline(spark, config, days=DAYS[:2], lake=lake)
    assert len({row["request_id"] for row in rows(lake)}) == len(rows(lake)) == 300
    assert len(lake.files("bronze", "usage")) > 40


@pytest.mark.slow
def test_faults_are_rows_with_outcomes_and_a_resume_sends_only_those(spark, lake, api):
    put_users(lake, 20)
    api.status = {3: [404, 404], 4: [503, 503], 5: [503], 6: [429], 7: [500, 500]}
    api.headers = {"Retry-After": "0"}
    first = run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    found = {row["user_id"]: row for row in rows(lake)}
    assert len(found) == 20
    assert {u for u, r in found.items() if not r["success"]} == {3, 4, 7}
    assert (found[3]["outcome"], found[3]["status_code"], found[3]["attempts"]) == ("permanent", 404, 1)
    assert (found[4]["outcome"], found[4]["error_message"]) == ("retryable", "status 503")
    assert (found[5]["outcome"], found[5]["attempts"]) == ("success", 2)
    assert (first.throttles, first.retries) == (1, 4)

    api.forget()
    api.status = {}
    second = run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert second.modes == {DAY: "resume"}
    assert set(api.requests) == {f"/v1/users/{user}/usage?date={DAY}" for user in (3, 4, 7)}
    found = {row["user_id"]: row for row in rows(lake)}
    assert len(found) == 20
    assert all(row["success"] and row["epoch"] == 1 for row in found.values())
    assert second.carried == {DAY: 17}


@pytest.mark.slow
def test_a_refresh_changes_what_the_upstream_changed_and_nothing_else(spark, lake, api):
    put_users(lake, 30)
    run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    before, hashed = {r["user_id"]: r["body"] for r in rows(lake)}, business_hash(lake)

    second = run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert second.modes == {DAY: "refresh"}
    assert second.requests == 30
    assert business_hash(lake) == hashed
    assert {row["epoch"] for row in rows(lake)} == {2}

    api.changed = {2, 9}
    run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    after = {r["user_id"]: r["body"] for r in rows(lake)}
    assert {user for user in after if after[user] != before[user]} == {2, 9}


def test_no_secret_reaches_bronze_even_if_the_api_echoes_it(spark, lake, api):
    put_users(lake, 5)
    api.echo = True
    run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert all("you_sent" in row["body"] for row in rows(lake))
    assert TOKEN not in json.dumps(rows(lake), default=str)
    for uri in lake.files("bronze", "usage"):
        with open(uri.removeprefix("file://"), "rb") as file:
            assert TOKEN.encode() not in file.read()


@pytest.mark.parametrize("watched", [False, True])
def test_a_pull_source_lands_every_item_of_every_page(spark, lake, api, watched):
    api.status = {-2: [503]}
    seen = [] if watched else None
    summary = run_pipeline(
        spark, source(TICKETS), days=DAYS, lake=lake, on_progress=None if seen is None else seen.append
    )
    found = rows(lake, "bronze.tickets")
    assert sorted(json.loads(r["payload"])["ticket_id"] for r in found) == [
        f"{day}-{n}" for day in DAYS for n in range(5)
    ]
    assert len({(row["request_id"], row["item_index"]) for row in found}) == 15
    assert summary.requests == 12, "three pages a day, and one of them twice"


def test_a_page_that_fails_keeps_its_day_unpublished(spark, lake, api):
    api.status = {-3: [404]}
    summary = run_pipeline(spark, source(TICKETS), days=[DAY], lake=lake)
    assert summary.bad_days == {DAY: ["success_rate"]}
    assert lake.version("bronze", "tickets") == -1


def test_an_empty_upstream_publishes_an_empty_day_without_a_request(spark, lake, api):
    put_users(lake, 3, "2026-10-07")
    summary = run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert (summary.rows, summary.requests, summary.version) == (0, 0, 1)
    assert lake.epochs("bronze", "usage", [DAY]) == {DAY: 1}


def test_an_unreachable_api_is_one_clear_error_and_changes_nothing(spark, lake, monkeypatch):
    put_users(lake, 200)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TEST_API", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    for config in (source(USAGE), source(TICKETS)):
        with pytest.raises(SourceError, match="refused the connection; is the API up"):
            run_pipeline(spark, config, days=[DAY], lake=lake)
        assert lake.version("bronze", config.name) == -1


def test_refused_credentials_are_one_clear_error(spark, lake, api, monkeypatch):
    put_users(lake, 10)
    monkeypatch.setenv("TEST_TOKEN", "wrong-token")
    with pytest.raises(SourceError, match=r"refused the credentials \(401\); check env:TEST_TOKEN") as caught:
        run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert "wrong-token" not in str(caught.value)


def test_a_frame_can_stand_in_for_a_table_but_not_beside_one(spark, lake, api):
    frame = spark.createDataFrame([(1, DAY), (2, DAY), (3, "2026-10-06")], "user_id long, ds string")
    bare = source(USAGE, form={"type": "row", "rows": {"key": {"user_id": "bigint"}}})
    assert run_pipeline(spark, bare, frame, days=[DAY], lake=lake).rows == 2
    with pytest.raises(ConfigError, match="not both"):
        run_pipeline(spark, source(USAGE), frame, days=[DAY], lake=lake)
    with pytest.raises(ConfigError, match="not neither"):
        run_pipeline(spark, bare, days=[DAY], lake=lake)


def test_what_a_killed_run_had_got_is_not_sent_again(spark, lake, api):
    put_users(lake, 10)
    api.status = {3: [404], 4: [503, 503]}
    stage_source(spark, Run(lake, source(USAGE), (DAY,)))  # staged, and never published
    assert lake.version("bronze", "usage") == -1, "nothing that a reader sees"
    api.forget()
    api.status = {}
    summary = run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert (len(rows(lake)), summary.requests, summary.carried) == (10, 2, {DAY: 8})
    assert all(row["success"] and row["epoch"] == 1 for row in rows(lake))
    # The next run removes what the killed one left, and keeps what is published.
    run_pipeline(spark, source(USAGE), days=[DAY], lake=lake)
    assert len(rows(lake)) == 10
    table = Path(lake.path("bronze", "usage"))
    assert len([*table.glob("_runs/*.json")]) == 1, "of the last run"
    assert len([folder for folder in table.iterdir() if folder.name[0] not in "._"]) == 2


def test_two_processes_agree_on_what_is_the_same_source(lake):
    code = (
        "from tests.ingest.api.sources import USAGE, source\n"
        "from asgard_assets.ingest.api.table.bronze import arrow_schema\n"
        "from asgard_assets.ingest.api.plan.resume import identity\n"
        "from types import SimpleNamespace\n"
        "config = source(USAGE)\n"
        "print(identity(config, SimpleNamespace(schema=arrow_schema(config))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


@pytest.mark.slow
def test_a_refresh_and_another_configuration_take_nothing_over(spark, lake, api):
    put_users(lake, 10)
    for _ in range(2):
        stage_source(spark, Run(lake, source(USAGE), (DAY,)))
    assert sum(api.requests.values()) == 10
    bare = source(USAGE, sink=USAGE["sink"] | {"body": "none"})
    assert stage_source(spark, Run(lake, bare, (DAY,))).summary.requests == 10
    old = source(USAGE, execution={"resume_hours": 0})
    assert stage_source(spark, Run(lake, old, (DAY,))).summary.requests == 10
    assert stage_source(spark, Run(lake, source(USAGE), (DAY,), "refresh")).summary.requests == 10
    mine = stage_source(spark, Run(lake, source(USAGE), (DAY,), "refresh", run_id="r"))
    assert mine.summary.requests == 10
    again = stage_source(spark, Run(lake, source(USAGE), (DAY,), "refresh", run_id="r"))
    assert again.summary.requests == 0, "a step that is tried again is the same run"


def test_what_a_check_refused_is_asked_for_again(spark, lake, api):
    put_users(lake, 10)
    strict = source(USAGE, quality=USAGE["quality"] | {"checks": [{"name": "no", "sql": "user_id <> 3"}]})
    assert run_pipeline(spark, strict, days=[DAY], lake=lake).bad_days == {DAY: ["no"]}
    assert run_pipeline(spark, strict, days=[DAY], lake=lake).requests == 10


def test_a_huge_body_is_a_file_of_its_own_and_the_table_has_its_properties(spark, lake, api):
    put_users(lake, 3)
    kept = {"offload_bytes": 40, "properties": {"delta.logRetentionDuration": "interval 7 days"}}
    run_pipeline(spark, source(USAGE, sink=USAGE["sink"] | kept), days=[DAY], lake=lake)
    found = rows(lake)
    assert [row["body"] for row in found] == [None] * 3
    bodies = [json.loads(get(lake, "bronze", "usage", row["body_path"])) for row in found]
    assert [body["user_id"] for body in bodies] == [row["user_id"] for row in found]
    table = DeltaTable(lake.path("bronze", "usage"))
    assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 7 days"
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert get(lake, "bronze", "usage", found[0]["body_path"])


def test_a_typed_payload_is_told_by_the_first_run_and_drift_loses_nothing(spark, lake, api):
    put_users(lake, 3)
    config = source(USAGE, sink=USAGE["sink"] | {"payload": {"type": "struct"}, "body": "none"})
    api.bodies = {
        1: {"id": 1, "score": 1, "tags": ["a"], "home": {"city": "Oslo"}, "gone": "x"},
        2: {"id": 2, "score": 1.5, "tags": [], "home": None, "gone": "y"},
        3: {"id": 3, "score": None},
    }
    first = run_pipeline(spark, config, days=[DAY], lake=lake)
    assert not first.drift
    assert [row["payload"] for row in sorted(rows(lake), key=lambda row: row["user_id"])] == [
        {"id": 1, "score": 1.0, "tags": ["a"], "home": {"city": "Oslo"}, "gone": "x"},
        {"id": 2, "score": 1.5, "tags": [], "home": None, "gone": "y"},
        {"id": 3, "score": None, "tags": None, "home": None, "gone": None},
    ]

    api.bodies = {
        1: {"id": "one", "score": 2, "tags": ["b", 7], "home": {"city": "Rome", "zip": "00100"}},
        2: {"id": 2, "score": 3, "new": [1]},
        3: {"id": 3, "score": 4},
    }
    second = run_pipeline(spark, config, days=[DAYS[1]], lake=lake)
    assert second.drift == {
        "type id": 1, "type tags[]": 1, "new home.zip": 1, "new new": 1, "removed gone": 3,
    }  # fmt: skip
    found = {row["user_id"]: row for row in rows(lake) if row["ds"] == DAYS[1]}
    assert found[1]["payload"] == {
        "id": None, "score": 2.0, "tags": ["b", None], "home": {"city": "Rome"}, "gone": None,
    }  # fmt: skip
    assert json.loads(found[1]["payload_rescued"]) == {"id": "one", "tags.1": 7, "home.zip": "00100"}
    assert json.loads(found[2]["payload_rescued"]) == {"new": [1]}
    assert found[3]["payload_rescued"] is None


def test_drift_that_shall_fail_keeps_the_day_out(spark, lake, api):
    put_users(lake, 2)
    payload = {"type": "struct", "columns": {"id": "bigint"}, "on_drift": "fail"}
    config = source(USAGE, sink=USAGE["sink"] | {"payload": payload})
    api.bodies = {1: {"id": 1}, 2: {"id": 2, "name": "Ada"}}
    summary = run_pipeline(spark, config, days=[DAY], lake=lake)
    assert list(summary.bad_days) == [DAY]
    assert "schema_drift" in str(summary.bad_days[DAY])
    assert summary.drift == {"new name": 1}
    assert lake.version("bronze", "usage") <= 0, "nothing was published"
