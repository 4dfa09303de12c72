"""What a thousand ingestions cost: a page of their list beside that of ten, and the code location for each of them.

    python -m tests.benchmarks.ingestions             # 10 and 1,000
    python -m tests.benchmarks.ingestions --many 200

CPU seconds. A page is listed anew each time, as two seconds later. The code location is a fresh process, with and without
the ingestions; it is loaded and its repository built, as Dagster does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from asgard_assets.components.platform.definitions import ManagedDefinition, definitions_in
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.ingestions import Ingestions
from tests.checkout import ROOT
from tests.patience import loop_seconds

LOAD = (
    "import asgard_assets.definitions as d; r = d.defs().get_repository_def(); import os; t = os.times(); "
    "print(len(r.assets_defs_by_key), t.user + t.system)"
)
FEW, PAGES = 10, 40


def lake_of(folder: Path, how_many: int) -> Lake:
    """A lake with so many managed sources of files."""
    lake = Lake(str(folder / "lake"))
    kept = definitions_in(lake)
    for number in range(how_many):
        name = f"source_{number:04}"
        told = {
            "name": name,
            "path": name,
            "ds": {"type": "arrival"},
            "types": "inferred",
            "description": "Records.",
        }
        kept.save(ManagedDefinition(name=name, kind="files", attributes=told, created=1))
    return lake


def page(lake: Lake) -> float:
    """CPU milliseconds of a page of ten, listed anew each time."""
    ticks = count(0, 10)
    found = Ingestions(lake, Landing(f"{lake.root}-landing"), clock=lambda: float(next(ticks)))
    found.page(lambda _: True, FEW)
    began = time.process_time()
    for _ in range(PAGES):
        assert len(found.page(lambda _: True, FEW).ingestions) == FEW
    return (time.process_time() - began) / PAGES * 1000


def location(folder: Path, runs: int) -> float:
    """CPU seconds that loading the project takes, on the lake in a home."""
    env = os.environ | {"ASGARD_HOME": str(folder), "ASGARD_PARTITION_START": "2026-10-05"}
    told = [
        float(subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.split()[-1])
        for _ in range(runs)
    ]  # fmt: skip
    return statistics.median(told)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        few, many, empty = (Path(scratch) / name for name in ("few", "many", "empty"))
        pages = [page(lake_of(few, FEW)), page(lake_of(many, given.many))]
        loads = [location(empty, given.runs), location(many, given.runs)]
    each = (loads[1] - loads[0]) / given.many * 1000
    sys.stdout.write(
        f"loop {loop_seconds():.2f} s\n"
        f"a page of {FEW}: {pages[0]:.1f} ms of {FEW}, {pages[1]:.1f} ms of {given.many} ({pages[1] / pages[0]:.1f} times)\n"
        f"code location: {loads[0]:.1f} s without, {loads[1]:.1f} s with {given.many}: {each:.1f} ms each\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
