"""A driver of its own, `python -m tests.ingest.api.canary_job FOLDER`: runs every source in a folder with all
that Spark can tell switched on (event log, UI), and prints what the UI and the conf say, and each error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import urllib.request
from pathlib import Path

from tests.ingest.api.oauth_job import holds, python_workers

PAGES = ("environment/", "jobs/", "stages/", "executors/", "SQL/", "api/v1/applications")


def main() -> None:
    logging.basicConfig(level=logging.DEBUG)
    folder = Path(sys.argv[1])
    from pyspark.sql import SparkSession

    from asgard_assets.errors import AsgardError
    from asgard_assets.ingest.api.pipeline import run_pipeline
    from asgard_assets.lake import Lake
    from asgard_assets.spark.session import session_conf

    events = folder / "events"
    events.mkdir()
    conf = session_conf() | {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": f"file://{events}",
        "spark.ui.enabled": "true",
        "spark.ui.port": "0",
    }
    spark = SparkSession.builder.config(map={**conf}).getOrCreate()
    lake = Lake.from_settings()
    frame = spark.range(1, 7).withColumnRenamed("id", "user_id")
    told: dict[str, object] = {}
    seen: list[tuple[list[bool], str]] = []
    for file in sorted(folder.glob("*.yaml")):
        progress: list[object] = []
        try:
            summary = run_pipeline(
                spark,
                file,
                frame,
                days=["2026-10-05"],
                lake=lake,
                on_progress=progress.append,
            )
            told[file.stem] = {"rows": summary.rows, "summary": repr(summary), "progress": repr(progress)}
            client = [os.environ["CLIENT"].encode()]
            for worker in python_workers():
                with contextlib.suppress(OSError):  # it has ended
                    seen.append((holds(worker.pid, client), file.stem))
        except AsgardError as error:
            told[file.stem] = {"error": str(error), "attributes": repr(error.attributes)}
    told["workers_seen"] = len(seen)
    told["client_secret_in_worker_of"] = [name for found, name in seen if any(found)]
    told["conf"] = spark.sparkContext.getConf().getAll()
    address = spark.sparkContext.uiWebUrl
    told["ui"] = {page: _page(f"{address}/{page}") for page in PAGES}
    spark.stop()
    print(json.dumps(told))


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    main()
