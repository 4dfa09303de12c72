"""Four Spark drivers and a delta-rs writer commit to one table on S3 that refuses puts and loses answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from asgard_assets.lake import Lake
from asgard_assets.settings import ROOT
from tests.servers.builds import answers, free_port
from tests.servers.s3 import s3
from tests.spark.committer import NAME

DRIVERS = 4


@pytest.mark.servers
@pytest.mark.parametrize(
    "commits", [60, pytest.param(500, marks=pytest.mark.soak)], ids=lambda count: f"{count}-commits"
)
@pytest.mark.timeout(3600)
def test_no_commit_is_lost_or_doubled(tmp_path: Path, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    import pyarrow as pa

    each = commits // (DRIVERS + 1)
    with s3(tmp_path / "s3", "lake") as server:
        port = free_port()
        proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.s3_faults", server.endpoint, str(port), "7"], cwd=ROOT
        )
        processes: list[subprocess.Popen[bytes]] = []
        try:
            endpoint = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while not answers(f"{endpoint}/-/faults"):
                assert proxy.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            for key, value in {**server.environment, "ASGARD_S3_ENDPOINT": server.endpoint}.items():
                monkeypatch.setenv(key, value)
            lake = Lake("s3://lake", server.endpoint)
            rows = pa.schema([("id", pa.int64()), ("ds", pa.string())])
            lake.publish(
                lake.stage("bronze", NAME, rows, ["1998-12-31"])
            )  # the table is there before the race
            gate = tmp_path / "gate"
            for number in range(DRIVERS + 1):
                home = tmp_path / f"home-{number}"
                env = {
                    **os.environ,
                    **server.environment,
                    "ASGARD_S3_ENDPOINT": endpoint,
                    "ASGARD_LAKE": "s3://lake",
                    "ASGARD_HOME": str(home),
                    "ASGARD_SPARK_MEMORY": "512m",
                    "ASGARD_SPARK_CORES": "1",
                    "PYTHONPATH": str(ROOT),
                }
                command = [sys.executable, "-m", "tests.spark.committer", str(number), str(each), str(gate)]
                processes.append(subprocess.Popen(command, cwd=ROOT, env=env))
            deadline = time.monotonic() + 600
            while len(list(tmp_path.glob("ready-*"))) < DRIVERS:
                assert time.monotonic() < deadline and not any(p.poll() for p in processes)
                time.sleep(0.2)
            gate.touch()
            assert [process.wait(3000) for process in processes] == [0] * (DRIVERS + 1)
            with urllib.request.urlopen(f"{endpoint}/-/faults") as answer:
                faults = json.load(answer)
        finally:
            for process in (*processes, proxy):
                process.kill()
                process.wait()
        table = lake.table("bronze", NAME)
        assert table is not None
        ids = sorted(table.to_pyarrow_table()["id"].to_pylist())
    print(f"{commits} commits, {faults}")
    assert faults["refused"] and faults["lost"], faults
    assert ids == sorted(number * 100_000 + commit for number in range(DRIVERS + 1) for commit in range(each))
