"""What a look at a landing folder costs when very many files are known.

    python -m tests.benchmarks.known_files --files 1000000

Makes that many empty files in one folder and a manifest that knows all but one, and times a tick of an ordered
source, then the ticks of a full listing with a budget of 8 s each; memory is the growth of this process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan import manifest as module
from asgard_assets.ingest.files.plan.listing import Scan, scan
from asgard_assets.ingest.files.plan.load_plan import write_plan
from asgard_assets.ingest.files.plan.manifest import open_manifest
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake

DAY = "2026-10-05"


def prepare(home: Path, count: int) -> None:
    """Files, and a manifest made as loads make it: plans of 50,000 files, committed and folded."""
    folder = home / "landing" / "s"
    folder.mkdir(parents=True)
    lake, landing = Lake(str(home / "lake")), Landing(str(home / "landing"))
    names = [f"{DAY}_{n:09}.json" for n in range(count)]
    for name in names:
        os.close(os.open(folder / name, os.O_CREAT))
    for start in range(0, count - 1, 50_000):
        files = [landing.look(f"s/{name}") for name in names[start : min(start + 50_000, count - 1)]]
        before = open_manifest(lake, "s", fold=True).numbers.get(DAY, 0)
        plan = write_plan(lake, "s", {DAY: before}, {DAY: [f for f in files if f is not None]})
        lake.publish(
            lake.stage("bronze", "s", pa.schema([("ds", pa.string())]), [DAY]), plans=plan.transactions
        )
    module.FOLD_PLANS = 0
    open_manifest(lake, "s", fold=True)


def look(home: Path, ordered: bool) -> None:
    """In a fresh process: ticks until the end is reached."""
    source = FileSource.model_validate(
        {"name": "s", "path": "s", "ds": {"type": "filename"}, "description": "d", "ordered": ordered}
    )
    lake, landing = Lake(str(home / "lake")), Landing(str(home / "landing"))
    open_manifest(lake, "s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    cursor, ticks, found = None, [], 0
    while True:
        began, cpu = time.monotonic(), time.process_time()
        seen: Scan = scan(lake, landing, source, cursor, 8.0)
        ticks.append((round(time.monotonic() - began, 2), round(time.process_time() - cpu, 2)))
        cursor, found = seen.cursor, found + seen.files
        if cursor is None:
            break
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    name = "ordered" if ordered else "full"
    sys.stdout.write(
        f"{name}: ticks (wall, CPU s) {ticks}, new files {found}, memory {before} + {after - before} MB\n"
    )


def main() -> None:
    import subprocess

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--look", choices=["ordered", "full"])
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    if asked.look:
        look(asked.home, asked.look == "ordered")
        return
    with tempfile.TemporaryDirectory(prefix="asgard-bench-") as scratch:
        prepare(Path(scratch), asked.files)
        again = [sys.executable, "-m", "tests.benchmarks.known_files", "--home", scratch, "--look"]
        # The first ordered look finds the watermark, the second begins there.
        for which in ("full", "ordered", "ordered"):
            subprocess.run([*again, which], check=True)


if __name__ == "__main__":
    main()
