"""A driver of its own, `python -m tests.ingest.api.oauth_job SOURCE ROWS`: runs one source and looks into the
memory of Spark's Python processes meanwhile. Prints what it saw as JSON.

The secret stands in this process's environment before Spark starts, as it does in production.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import sys
import threading
from pathlib import Path

import psutil

SECRETS = ("CRM_SECRET", "CRM_PASSWORD")


def holds(pid: int, needles: list[bytes]) -> list[bool]:
    """Whether each needle lies in the memory of a process that this one may read."""
    found = [False] * len(needles)
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            begin, end, kind = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
            if not kind.startswith("r") or "[v" in line:
                continue
            tail, at, stop = b"", int(begin, 16), int(end, 16)
            while at < stop:
                try:
                    memory.seek(at)
                    chunk = memory.read(min(1 << 22, stop - at))
                except (OSError, ValueError):
                    break  # a mapping that cannot be read, such as a device
                if not chunk:
                    break
                text = tail + chunk
                found = [had or needle in text for had, needle in zip(found, needles, strict=True)]
                tail, at = text[-256:], at + len(chunk)
    return found


def python_workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one too
            if any("pyspark" in part for part in process.cmdline()) and "java" not in process.name():
                found.append(process)
    return found


def main() -> None:
    logging.basicConfig(level=logging.DEBUG)
    source_file, rows = Path(sys.argv[1]), int(sys.argv[2])
    from asgard_assets.ingest.api.pipeline import run_pipeline
    from asgard_assets.lake import Lake
    from asgard_assets.spark.session import open_session

    secrets = [os.environ[name].encode() for name in SECRETS if name in os.environ]
    pair = base64.b64encode(b"crm:" + secrets[0])[:-4]
    needles = [*secrets, pair, b"Bearer eyJ"]
    seen: dict[int, list[bool]] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            for process in python_workers():
                try:
                    now = holds(process.pid, needles)
                except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
                    continue
                before = seen.get(process.pid, [False] * len(needles))
                seen[process.pid] = [a or b for a, b in zip(before, now, strict=True)]

    spark, lake = open_session(), Lake.from_settings()
    frame = spark.range(1, rows + 1).withColumnRenamed("id", "user_id")
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        summary = run_pipeline(spark, source_file, frame, days=["2026-10-05"], lake=lake)
    finally:
        ended.set()
        watcher.join()
    conf = json.dumps(spark.sparkContext.getConf().getAll())
    told = {
        "succeeded": summary.succeeded,
        "requests": summary.requests,
        "workers": list(summary.workers),
        "secret_in": [pid for pid, found in seen.items() if any(found[:-1])],
        "token_in": [pid for pid, found in seen.items() if found[-1]],
        "driver_holds": holds(os.getpid(), needles)[: len(secrets)],
        "conf_holds": any(secret.decode() in conf for secret in secrets),
    }
    spark.stop()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
