"""Small jobs run in the process itself: the same rows, limits, secrets and failures as in Spark, and no Spark."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.http.messages import Refused
from asgard_assets.ingest.api.pipeline import run_pipeline, stage_source
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.table.bronze import VOLATILE
from asgard_assets.lake import Lake
from tests.fakes.mock_server import mock_server
from tests.fakes.rest_api import TOKEN, RestApi, serving
from tests.ingest.api.driver import Driver
from tests.ingest.api.sources import TICKETS, USAGE, put_users, source

DAYS = tuple(f"2026-10-{day:02d}" for day in range(5, 25))
DAY = DAYS[0]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestApi]:
    with serving() as server:
        monkeypatch.setenv("TEST_API", server.url)
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        yield server


def no_spark() -> Any:
    pytest.fail("a Spark session was opened")


def rows(lake: Lake, table: str) -> list[str]:
    """The business columns of all rows, sorted."""
    with lake.connect() as connection:
        found = connection.execute(f"select * from {table}").to_arrow_table().to_pylist()
    kept = [{name: value for name, value in row.items() if name not in VOLATILE} for row in found]
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in kept)


def test_a_small_job_opens_no_session_and_says_why(lake, api):
    put_users(lake, 30)
    api.status = {3: [404], 4: [500, 200]}
    summary = run_pipeline(no_spark, source(USAGE), days=DAYS[:2], lake=lake)
    assert summary.by_outcome == {"success": 58, "permanent": 2}
    assert (summary.ran_in, summary.why) == ("process", "62 requests, no more than 20,000")
    assert len(rows(lake, "bronze.usage")) == 60
    walked = run_pipeline(no_spark, source(TICKETS), days=DAYS, lake=lake)
    assert (walked.ran_in, walked.rows) == ("process", 100)
    assert run_pipeline(no_spark, source(USAGE), days=[DAY], lake=lake, mode="resume").requests == 1, (
        "the 404"
    )


def test_a_pipeline_is_run_as_the_source_document_writes_it(lake, api, tmp_path, monkeypatch):
    monkeypatch.setenv("ASGARD_LAKE", lake.root)
    put_users(lake, 3)
    file = tmp_path / "example_pipeline.yaml"
    file.write_text(yaml.safe_dump(source(USAGE).model_dump(mode="json", exclude_unset=True)))
    summary = run_pipeline(spark=no_spark, config_path=str(file), source_df=None, days=[DAY])
    assert summary.by_outcome == {"success": 3}


@pytest.mark.parametrize("given", [{}, {"config": "a.yaml", "config_path": "b.yaml"}])
def test_a_pipeline_has_one_configuration(given):
    with pytest.raises(ConfigError, match="either config_path"):
        run_pipeline(no_spark, **given)


@pytest.mark.slow
def test_both_ways_give_the_same_rows(spark, lake, api, tmp_path):
    other = Lake(f"{tmp_path}/other")
    for place in (lake, other):
        put_users(place, 50)
    api.status = {7: [404]}
    for config in (source(USAGE), source(TICKETS)):
        here = run_pipeline(no_spark, config, days=DAYS[:3], lake=lake)
        api.forget()
        there = run_pipeline(spark, config, days=DAYS[:3], lake=other)
        assert (here.ran_in, there.ran_in, there.why) == ("process", "spark", "a session was open")
        assert here.outcomes == there.outcomes
        assert rows(lake, config.sink.table.replace("/", ".")) == rows(
            other, config.sink.table.replace("/", ".")
        )


@pytest.mark.slow
def test_a_job_of_many_rows_goes_to_spark(spark, lake, api):
    put_users(lake, 40)
    staged = stage_source(lambda: spark, Run(lake, source(USAGE), DAYS[:2], process_requests=50))
    assert (staged.summary.ran_in, staged.summary.why) == ("spark", "80 requests, more than 50")
    assert staged.summary.outcomes == {day: {"success": 40} for day in DAYS[:2]}


@pytest.mark.slow
def test_walks_that_have_not_begun_go_to_spark_when_the_job_has_grown(spark, lake, api):
    staged = stage_source(lambda: spark, Run(lake, source(TICKETS), DAYS, process_requests=20))
    assert staged.summary.ran_in == "process, then spark"
    assert staged.summary.why == "24 requests, more than 20, and 12 walks left"
    assert staged.summary.outcomes == {day: {"success": 5} for day in DAYS}
    assert sum(api.requests.values()) == staged.summary.requests == 60


def test_one_long_walk_stays_where_it_is(lake, api):
    staged = stage_source(no_spark, Run(lake, source(TICKETS), (DAY,), process_requests=2))
    assert (staged.summary.ran_in, staged.summary.rows) == ("process", 5)


def test_the_declared_rate_holds(lake, api):
    put_users(lake, 60)
    began = time.monotonic()
    run_pipeline(no_spark, source(USAGE, limits={"requests_per_second": 40}), days=[DAY], lake=lake)
    assert time.monotonic() - began >= 60 / 40 * 0.9
    assert sum(api.requests.values()) == 60


def test_a_secret_that_comes_back_is_in_no_file_and_no_log(lake, api, caplog):
    put_users(lake, 3)
    api.echo = True
    caplog.set_level("DEBUG")
    summary = run_pipeline(no_spark, source(USAGE), days=[DAY], lake=lake)
    stored = "".join(rows(lake, "bronze.usage"))
    assert "you_sent" in stored
    files = b"".join(path.read_bytes() for path in Path(lake.root).rglob("*") if path.is_file())
    assert TOKEN not in stored + caplog.text + repr(summary)
    assert TOKEN.encode() not in files


def test_refused_credentials_are_an_error_and_leave_nothing(lake, api, monkeypatch):
    put_users(lake, 3)
    monkeypatch.setenv("TEST_TOKEN", "no-token-at-all")
    with pytest.raises(Refused, match="401"):
        run_pipeline(no_spark, source(USAGE), days=[DAY], lake=lake)
    assert lake.table("bronze", "usage") is None
    assert not list(Path(lake.root, "bronze/usage").rglob("*.parquet"))


@pytest.mark.servers
def test_a_killed_process_is_resumed_and_no_jvm_was_there(lake):
    with mock_server(bearer="canary-token-x", latency_ms=20) as server:
        changes = {"execution": {"flush_rows": 200}, "limits": {"max_in_flight": 20}}
        first = Driver(lake, server, 3_000, alone=True, changes=changes)
        try:
            while not list(Path(lake.root, "bronze/usage").rglob("part-*.parquet")):
                assert first.process.poll() is None, first.output.read_text()
                time.sleep(0.05)
            tree = [process.name() for process in first.tree()]
            psutil.Process(first.process.pid).kill()
            first.process.wait()
        finally:
            first.end()
        assert "java" not in tree
        second = Driver(lake, server, 3_000, alone=True, changes=changes)
        try:
            told = second.finish()
        finally:
            second.end()
    assert told["succeeded"] == told["rows"] == 3_000, told
    assert 0 < told["carried"] and told["requests"] == 3_000 - told["carried"]
    assert len(set(rows(lake, "bronze.usage"))) == 3_000


def test_the_engine_imports_neither_spark_nor_dagster():
    heavy = ("pyspark", "dagster", "pandas", "cryptography")
    code = (
        "import sys, asgard_assets.cli, asgard_assets.ingest.api.pipeline; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_on_a_spark_connect_server_requests_are_sent_by_the_run_itself(lake, api, monkeypatch):
    monkeypatch.setenv("ASGARD_LAUNCHER", "connect")
    put_users(lake, 5)
    summary = run_pipeline(no_spark, source(USAGE), days=(DAY,), lake=lake)
    assert (summary.ran_in, summary.by_outcome) == ("process", {"success": 5})
    assert "Spark Connect" in summary.why
    with pytest.raises(ConfigError, match="ASGARD_LAUNCHER=none"):
        run_pipeline(no_spark, source(USAGE, execution={"run_in": "spark"}), days=(DAY,), lake=lake)
