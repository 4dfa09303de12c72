"""Four Spark drivers and a delta-rs writer commit to one table on S3 that refuses puts and loses answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asgard_assets.lake import Lake
from tests.checkout import ROOT
from tests.patience import patience
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty
from tests.spark.committer import NAME

DRIVERS = 4


@pytest.mark.servers
@pytest.mark.parametrize(
    "commits", [60, pytest.param(500, marks=pytest.mark.soak)], ids=lambda count: f"{count}-commits"
)
@pytest.mark.timeout(3600)
def test_no_commit_is_lost_or_doubled(tmp_path: Path, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    each = commits // (DRIVERS + 1)
    with s3(tmp_path / "s3", "lake") as server, faulty(server.endpoint, seed=7) as (endpoint, counts):
        processes: list[subprocess.Popen[bytes]] = []
        try:
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
            deadline = time.monotonic() + patience(600)
            while len(list(tmp_path.glob("ready-*"))) < DRIVERS:
                assert time.monotonic() < deadline and not any(p.poll() for p in processes)
                time.sleep(0.2)
            gate.touch()
            assert [process.wait(patience(3000)) for process in processes] == [0] * (DRIVERS + 1)
            faults = counts()
        finally:
            for process in processes:
                process.kill()
                process.wait()
        table = lake.table("bronze", NAME)
        assert table is not None
        ids = sorted(table.to_pyarrow_table()["id"].to_pylist())
    print(f"{commits} commits, {faults}")
    assert faults["refused"] and faults["lost"], faults
    assert ids == sorted(number * 100_000 + commit for number in range(DRIVERS + 1) for commit in range(each))
