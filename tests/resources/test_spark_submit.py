"""Real `spark-submit` drivers: the API ingestion of one day, and a JVM that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.resources.home import prepare_home
from asgard_assets.settings import Settings
from asgard_assets.spark.jars import installed
from tests.checkout import ROOT
from tests.patience import ended, patience

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not installed(), reason="the Spark jars are not here; run `make setup`"),
]

DAY, USERS = "2026-10-05", 60
# What two runs of the same requests cannot share.
OWN = {"started_at", "finished_at", "duration_seconds", "run_id", "attempts", "response_headers"}


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def demo_api(port: int) -> Iterator[None]:
    """A fresh server each time: its planted faults depend on how often it was asked."""
    command = [sys.executable, "-m", "deployments.local.demo.api", "--port", str(port), "--users", str(USERS)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + patience(30)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None and time.monotonic() < deadline, "the demo API did not start"
            time.sleep(0.1)
        yield
    finally:
        ended(server)


def materialize(home: Path, launcher: str, port: int) -> subprocess.Popen[bytes]:
    """`dagster asset materialize --select bronze/usage` in a home with users; notes what the host imported."""
    home.mkdir()
    lake = Lake(str(home / "lake"))
    users = pa.table({"id": pa.array(range(1, USERS + 1), pa.int64()), "ds": [DAY] * USERS})
    staging = lake.stage("bronze", "users", users.schema, [DAY])
    lake.write(staging, users)
    lake.publish(staging)
    env = {
        **os.environ,
        "ASGARD_HOME": str(home),
        "ASGARD_LAUNCHER": launcher,
        "ASGARD_DEMO_API_URL": f"http://127.0.0.1:{port}",
        "DAGSTER_HOME": str(prepare_home(Settings(home=home))),
        "IMPORTED": str(home / "imported"),
    }
    script = (
        "import atexit, os, pathlib, sys;"
        "atexit.register(lambda: pathlib.Path(os.environ['IMPORTED']).write_text("
        "' '.join(m for m in ('pyspark', 'py4j', 'kubernetes') if m in sys.modules)));"
        "from dagster.__main__ import main; main()"
    )
    arguments = ["asset", "materialize", "-m", "asgard_assets.definitions", "--select", "bronze/usage"]
    with (home / "host.log").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments, "--partition", DAY],
            env=env,
            cwd=ROOT,
            stdout=out,
            stderr=out,
        )


def rows(home: Path) -> list[dict[str, Any]]:
    table = Lake(str(home / "lake")).table("bronze", "usage")
    assert table is not None
    found = table.to_pyarrow_table().to_pylist()
    kept = [{k: v for k, v in row.items() if k not in OWN} for row in found]
    return sorted(kept, key=lambda row: row["request_id"])


def log_of(home: Path) -> list[dg.EventLogEntry]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return list(instance.all_logs(instance.get_runs(limit=1)[0].run_id))


def events(home: Path) -> list[Any]:
    """The step's events with their checks, partitions and metadata labels, and the figures that must agree."""
    told = []
    for entry in log_of(home):
        event = entry.dagster_event
        if (
            event is None
            or event.step_key is None
            or not event.event_type_value.startswith(("STEP", "ASSET"))
        ):
            continue
        data: Any = event.event_specific_data
        shown: Any = None
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            shown = (data.check_name, data.passed, {k: v.value for k, v in data.metadata.items()})
        elif event.event_type_value == "ASSET_MATERIALIZATION":
            made = data.materialization
            same = ("dagster/partition_row_count", "version", "requests")
            figures = {k: made.metadata[k].value for k in same if k in made.metadata}
            shown = (made.asset_key, made.partition, sorted(made.metadata), figures, sorted(made.tags))
        told.append((event.event_type_value, event.step_key, shown))
    return told


def test_api_ingestion_by_spark_submit_gives_the_table_and_events_of_the_same_run_in_process(
    tmp_path: Path, port: int
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for home, launcher in ((here, "none"), (there, "spark-submit")):
        with demo_api(port):
            host = materialize(home, launcher, port)
            assert host.wait(patience(240)) == 0, (home / "host.log").read_text()[-4000:]
    assert rows(there) == rows(here)
    assert len(rows(there)) == USERS
    assert events(there) == events(here)
    # A small job needs no Spark in this process either.
    assert (here / "imported").read_text() == (there / "imported").read_text() == ""
    assert not list((there / "launcher").rglob("*.log"))


def test_a_killed_jvm_is_told_as_a_lost_driver_and_leaves_no_process_and_no_table(
    tmp_path: Path, port: int
) -> None:
    home = tmp_path / "home"
    host = materialize(home, "spark-submit", port)  # no server: the driver keeps trying
    try:
        jvm = wait_for_jvm(host)
        os.kill(jvm, signal.SIGKILL)
        deadline = time.monotonic() + patience(90)
        while "it was killed (SIGKILL)" not in (home / "host.log").read_text():
            assert host.poll() is None and time.monotonic() < deadline, (home / "host.log").read_text()[
                -4000:
            ]
            time.sleep(0.2)
        assert not [pid for pid, stat in processes().items() if stat[3] == str(jvm)]
    finally:
        host.send_signal(signal.SIGTERM)
        host.wait(patience(60))
    assert Lake(str(home / "lake")).table("bronze", "usage") is None
    assert not [pid for pid, stat in processes().items() if stat[1] == str(host.pid)]


def processes() -> dict[int, list[str]]:
    """Living processes: state, parent, group, session …"""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(path.parent.name)] = fields
    return found


def wait_for_jvm(host: subprocess.Popen[bytes]) -> int:
    """The JVM of the driver, once it has started Python."""
    deadline = time.monotonic() + patience(90)
    while time.monotonic() < deadline:
        alive = processes()
        parents = {stat[1] for stat in alive.values()}
        for pid, stat in alive.items():
            # Leader of a session of its own, with a child.
            if stat[1] == str(host.pid) and stat[3] == str(pid) and str(pid) in parents:
                return pid
        assert host.poll() is None, "the host has ended"
        time.sleep(0.1)
    raise AssertionError("no driver in time")
