"""A driver of its own, for tests that kill or stop one: `python -m tests.ingest.api.driver '<JSON>'`.

Sends `rows` requests to `url`, publishes, and prints the summary as its last line. `stop`: stops itself
(SIGSTOP) between the last check and the commit. `source`: a whole source in place of those requests. `retries`: how often
Spark tries a task again. `alone`: there is no Spark.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from tests.fakes.mock_server import MockServer
from tests.ingest.api.sources import USAGE, source
from tests.patience import patience

DAY = "2026-10-05"


def items(url: str, rows: int, **changes: Any) -> ApiSource:
    """A source with one request for each of the mock API's first `rows` records."""
    form = {
        "type": "row",
        "rows": {
            "query": f"select range as user_id from range({rows})",
            "reads": ["bronze/users"],
            "key": {"user_id": "bigint"},
        },
    }
    changes.setdefault("endpoint", {"base_url": url, "path": "/items/{row.user_id}"})
    return source(USAGE, form=form, **changes)


class Driver:
    """A started driver process, its JVM and its workers."""

    def __init__(self, lake: Lake, server: MockServer | str, rows: int, **more: Any):
        home = Path(lake.root).parent
        url = server if isinstance(server, str) else server.url
        told = {"lake": lake.root, "url": url, "rows": rows, **more}
        self.output = home / f"driver-{time.monotonic_ns()}.log"
        environment = os.environ | {"TEST_TOKEN": "canary-token-x", "ASGARD_HOME": str(home)}
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.ingest.api.driver", json.dumps(told)],
                stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            )  # fmt: skip

    def tree(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """The driver dies at once: its Python process and its JVM. Its workers have to notice."""
        tree = self.tree()
        workers = [process for process in tree if process.name() != "java"]
        for process in [psutil.Process(self.process.pid), *(p for p in tree if p not in workers)]:
            process.kill()
        self.process.wait()
        psutil.wait_procs(workers, timeout=patience(30))

    def end(self) -> None:
        """Leave no process behind."""
        for process in [*self.tree()]:
            if process.is_running():
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def finish(self, seconds: float = 400) -> dict[str, Any]:
        """Wait for its end; gives back the summary, or `{"failed": the last lines}`."""
        code = self.process.wait(seconds)
        lines = self.output.read_text().splitlines()
        return json.loads(lines[-1]) if code == 0 else {"failed": "\n".join(lines[-40:])}


def main(told: dict[str, Any]) -> None:
    from pyspark.sql import SparkSession

    from asgard_assets.ingest.api.pipeline import run_pipeline
    from asgard_assets.spark.session import session_conf

    if told.get("stop"):
        from deltalake import DeltaTable

        commit = DeltaTable.create_write_transaction

        def stopping(*args: Any, **more: Any) -> None:
            os.kill(os.getpid(), signal.SIGSTOP)
            commit(*args, **more)

        DeltaTable.create_write_transaction = stopping
    if "source" in told:
        config = ApiSource.model_validate(told["source"])
    else:
        config = items(told["url"], told["rows"], **told.get("changes", {}))
    conf = session_conf() | {"spark.master": f"local[2,{told.get('retries', 0) + 1}]"}
    spark = None if told.get("alone") else SparkSession.builder.config(map={**conf}).getOrCreate()
    # Where nothing opens a session, the process sends by itself or fails.
    run_in: Any = spark or SparkSession.getActiveSession
    summary = run_pipeline(run_in, config, days=[DAY], lake=Lake(told["lake"]), mode=told.get("mode", "auto"))
    shown = {"rows": summary.rows, "requests": summary.requests, "carried": summary.carried.get(DAY, 0)}
    sys.stdout.write(
        f"\n{json.dumps(shown | {'succeeded': summary.succeeded, 'version': summary.version})}\n"
    )
    if spark:
        spark.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
