"""What a new user gets from `make demo`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.partitions import daily, weekly
from asgard_assets.definitions import defs
from asgard_assets.windows import days_between
from tests.end_to_end.homes import Demo, Home, listens
from tests.patience import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]
DAYS = days_between("2026-10-05", "2026-11-01")
CUT_OFFS = ["2026-10-12", "2026-10-19", "2026-10-26"]


def test_every_table_has_all_its_partitions(demo: Demo):
    with dg.DagsterInstance.from_config(str(demo.path / "dagster")) as instance:
        for spec in (s for s in defs().resolve_all_asset_specs() if s.key.path[0] != "platform"):
            done = instance.get_materialized_partitions(spec.key)
            if spec.partitions_def == daily():
                assert done >= set(DAYS), spec.key
            elif spec.partitions_def == weekly():
                assert done >= set(CUT_OFFS), spec.key
            else:
                assert instance.get_latest_materialization_event(spec.key), spec.key


def test_no_bronze_row_is_lost_on_the_way(demo: Demo):
    """Rows in = rows out + rejected rows; of usage, only answers with data go on."""
    with demo.lake.connect() as connection:

        def rows(sql: str) -> int:
            return connection.execute(f"select count(*) from {sql}").fetchall()[0][0]

        asked = rows("bronze.usage")
        assert asked == 800 * len(DAYS)
        answered = rows("bronze.usage where success")
        assert answered == rows("silver.usage") + rows("rejected.usage")
        bought = rows("bronze.purchases where purchased_at is not null")  # the others are carts
        assert bought == rows("silver.purchases") + rows("rejected.purchases")
        for name in ("invoices", "tickets"):
            assert rows(f"bronze.{name}") == rows(f"silver.{name}") + rows(f"rejected.{name}"), name
        assert rows("rejected.customers where reason like '%email%'") > 0


def test_requests_come_from_spark_workers_with_many_in_flight(demo: Demo):
    log = demo.path / "logs" / "demo-api-requests.jsonl"
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    usage = [r for r in requests if "/usage" in r["path"]]
    assert len(usage) >= 800 * len(DAYS)
    workers = {r["worker"] for r in usage}
    assert None not in workers and "" not in workers
    assert len(workers) >= 2
    assert max(r["in_flight"] for r in usage) >= 32


def test_one_spark_session_serves_the_whole_demo_within_four_gigabytes(demo: Demo):
    print(f"demo: {demo.seconds:.0f} s, peak {demo.peak_megabytes:.0f} MB")
    assert demo.spark_drivers == 1
    assert demo.peak_megabytes <= 4096


def test_a_second_demo_sends_nothing_and_writes_nothing(demo: Demo):
    log = demo.path / "logs" / "demo-api-requests.jsonl"
    versions = {table: demo.lake.version(*table) for table in demo.lake.tables()}
    requests = len(log.read_text().splitlines())
    again = demo.run("asgard", "demo")
    assert again.returncode == 0, again.stderr
    assert "0 requests sent, 0 tables written" in again.stdout
    assert {table: demo.lake.version(*table) for table in demo.lake.tables()} == versions
    assert len(log.read_text().splitlines()) == requests


def test_an_interrupted_demo_says_so_and_leaves_no_process(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    process = home.start("asgard", "demo")
    (said,) = home.path.glob("asgard-*.log")
    usage = home.path / "lake" / "bronze"
    wait_until(usage.exists, 120, "the first table is on its way")
    again = home.run("asgard", "demo")
    assert again.returncode == 1 and "another demo is running on" in again.stderr

    def gone() -> bool:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does, and as impatient as people are
            time.sleep(3)
        return process.poll() is not None

    wait_until(gone, 60, "Ctrl-C ends the demo")
    text = " ".join(said.read_text().split())
    assert process.returncode == 1, text
    assert "the next demo goes on from there" in text, text
    assert "refused the connection" not in text
    assert not listens(home.api_port) and not listens(home.airbyte_port)


def test_the_closing_table_and_the_first_predictions_are_printed(demo: Demo):
    assert "customer_metrics" in demo.said and "checks passed" in demo.said
    assert "most likely to leave" in demo.said
    assert "make dev" in demo.said
