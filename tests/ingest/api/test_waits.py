"""Waits that an API asks for, in a whole run: its progress, its rows and its summary say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asgard_assets.components.api_metadata import metadata
from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.table.progress import Watch
from asgard_assets.lake import Lake
from tests.fakes.rest_api import TOKEN, RestApi, serving
from tests.ingest.api.sources import TICKETS, USAGE, put_users, source

DAY = "2026-10-05"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestApi]:
    with serving() as server:
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def no_spark():
    pytest.fail("a Spark session was opened")


def failures(lake: Lake, table: str) -> list[dict]:
    with lake.connect() as connection:
        found = connection.execute(
            f"select outcome, status_code, attempts, error_class, error_message from {table} where not success"
        )
        return found.to_arrow_table().to_pylist()


def test_rows_that_would_wait_for_hours_say_until_when_the_api_is_closed(lake, api):
    put_users(lake, 40)
    api.limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "14400", "X-RateLimit-Limit": "5000"}
    told = []
    config = source(USAGE, limits={"max_in_flight": 2}, quality={"description": "Usage.", "min_success": 0})
    staged = stage_source(no_spark, Run(lake, config, (DAY,)), on_wait=told.append)
    assert [wait.waited for wait in told] == [False]
    summary = staged.summary
    assert summary.outcomes[DAY]["retryable"] >= 38, "what was in flight came back"
    assert "x-ratelimit-reset: 14400" in summary.failures[0]["error"]
    assert summary.waits[0]["seconds"] == 14_400
    assert "waits_the_api_asked_for" in metadata(summary)
    lake.publish(staged.staging)
    failed = failures(lake, "bronze.usage")
    assert {(row["outcome"], row["status_code"], row["attempts"], row["error_class"]) for row in failed} == {
        ("retryable", None, 0, "LimitReached")
    }
    api.limits = {}
    again = run_pipeline(no_spark, config, days=[DAY], lake=lake)
    assert again.requests == len(failed), "a resume asks for what was not sent"
    assert again.by_outcome == {"success": 40}


def test_a_refusal_that_is_longer_than_the_deadline_is_a_row_with_its_status(lake, api):
    put_users(lake, 3)
    api.status, api.headers = {2: [429] * 9}, {"Retry-After": "7200"}
    summary = run_pipeline(no_spark, source(USAGE, limits={"pause_share": 0.5}), days=[DAY], lake=lake)
    assert summary.by_outcome == {"success": 2, "retryable": 1}
    (failed,) = failures(lake, "bronze.usage")
    assert (failed["status_code"], failed["attempts"]) == (429, 1)
    assert "the API asks to wait until" in failed["error_message"]


def test_progress_says_what_is_waited_for(lake):
    waiting = "waiting until 10:00:00 UTC: the API asks for it (retry-after: 60 s)"
    assert waiting in Watch(lake, str(lake.root), 5, waiting=lambda: waiting).look().line()


def test_a_walk_that_cannot_wait_ends_red_and_says_why(lake, api):
    api.limits = {"RateLimit": '"hour";r=0;t=3000'}
    summary = run_pipeline(no_spark, source(TICKETS), days=[DAY], lake=lake)
    assert DAY in summary.bad_days
    assert 'ratelimit: "hour";r=0;t=3000' in summary.failures[0]["error"]
