"""A folder with a demo's data, how to run commands on it, and how to compare two of them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asgard_assets.lake import Lake
from tests.checkout import ROOT
from tests.patience import patience

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Home:
    """A folder with a demo's data, and how to run commands on it."""

    path: Path
    repository: Path = ROOT
    api_port: int = field(default_factory=free_port)
    airbyte_port: int = field(default_factory=free_port)

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_"))}
        return kept | {
            "ASGARD_HOME": str(self.path),
            "ASGARD_PARTITION_START": "2026-10-05",
            "ASGARD_PARTITION_END": "2026-11-02",
            "ASGARD_DEMO_API_URL": f"http://127.0.0.1:{self.api_port}",
            "ASGARD_AIRBYTE_URL": f"http://127.0.0.1:{self.airbyte_port}",
            "DAGSTER_HOME": str(self.path / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "ASGARD_GATEWAY_PORT": "0",
            "PYTHONPATH": str(self.repository),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def lake(self) -> Lake:
        return Lake(str(self.path / "lake"))

    def run(self, *command: str, timeout: float = 900, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.repository, env=self.env | extra, capture_output=True, text=True, timeout=patience(timeout), check=False,
        )  # fmt: skip

    def start(self, *command: str, **extra: str) -> subprocess.Popen[bytes]:
        with (self.path / f"{Path(command[0]).name}-{time.monotonic_ns()}.log").open("wb") as log:
            return subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=self.repository, env=self.env | extra, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def materialize(
        self, select: str, partitions: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run("dagster", *materialize_arguments(select, partitions), **extra)


def materialize_arguments(select: str, partitions: str = "") -> list[str]:
    chosen = []
    if partitions:
        chosen = ["--partition-range" if "..." in partitions else "--partition", partitions]
    return ["asset", "materialize", "-m", "asgard_assets.definitions", "--select", select, *chosen]


@dataclass
class Demo(Home):
    """The finished demo, and what its command printed."""

    said: str = ""
    seconds: float = 0.0
    peak_megabytes: float = 0.0
    spark_drivers: int = 0

    def copy_to(self, target: Path) -> None:
        """The tables' Parquet files as hard links: nobody writes into one. All else is copied.

        A test that damages a Parquet file makes a copy of it first.
        """
        tables = self.path / "lake"

        def link(source: str, place: str) -> str:
            if source.endswith(".parquet") and tables in Path(source).parents:
                with suppress(OSError):  # another file system
                    os.link(source, place)
                    return place
            return shutil.copy2(source, place)

        shutil.copytree(self.path, target, copy_function=link)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# Columns that differ between two runs of the same data: when and by which run something was done.
_RUN_COLUMNS = {
    "_ingested_at", "_metadata", "started", "finished", "duration_seconds", "started_at", "finished_at",
    "attempts", "run_id", "epoch", "model_version", "response_headers", "request_headers", "worker",
}  # fmt: skip


# What besides differs from demo to demo: the API's port, the paths of files, Airbyte's ids, and rows that hold them.
OF_ONE_DEMO = {"url", "_file", "_airbyte_raw_id", "record"}


def fingerprint(lake: Lake, without: Collection[str] = ()) -> dict[str, tuple[int, str]]:
    """Rows and an order-independent hash of the business columns of every table."""
    found = {}
    with lake.connect() as connection:
        for stage, name in lake.tables():
            columns = [row[0] for row in connection.execute(f'describe "{stage}"."{name}"').fetchall()]
            kept = ", ".join(f'"{c}"' for c in sorted(columns) if c not in {*_RUN_COLUMNS, *without})
            found[f"{stage}/{name}"] = connection.execute(
                f'select count(*), coalesce(sum(hash(({kept}))::hugeint)::varchar, \'\') from "{stage}"."{name}"'
            ).fetchone()
    return found
