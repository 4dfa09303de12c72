"""What a tick of a file source's sensor costs: a burst of new files, and a million known ones.

    python -m tests.benchmarks.sensor                    # 10,000 new files; 1,000,000 known, ordered and not
    python -m tests.benchmarks.sensor --known 100000
    python -m tests.benchmarks.sensor --home DIR         # keeps the known files there and uses them again
    python -m tests.benchmarks.sensor --flat --letters 150   # all in one folder, with long names

Every measurement is a fresh process that evaluates real ticks on real files and a real Delta table, as the code
server does; peak memory is the process's own. Bars: a burst reacts in one tick of at most 10 s; with a million
known files a tick takes at most 2 s where names are ordered, else a full listing ends within 5 ticks; 200 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DAY = "2026-10-{:02}"
WORK = """
import json, sys, time
import dagster as dg
from asgard_assets.components.file_sensor import Cursor, file_sensor
from asgard_assets.components.files import file_asset
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.resources.environment import resources
ordered, ticks, ds = json.loads(sys.argv[1])
source = FileSource.model_validate({"name": "s", "path": "s", "ds": {"type": ds}, "description": "d", "ordered": ordered})
sensor = file_sensor(source)
defs = dg.Definitions(assets=[file_asset(source)], sensors=[sensor], resources=resources())
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
import deltalake  # a code server has it after its first tick
cursor, told, start = None, [], peak()
with dg.DagsterInstance.ephemeral() as instance:
    for _ in range(ticks):
        began, cpu = time.perf_counter(), time.process_time()
        found = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs))
        cursor = found.cursor
        told.append({"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu,
            "runs": len(found.run_requests or []), "files": sum(int(r.tags["asgard/files"]) for r in found.run_requests or []),
            "after": Cursor.read(cursor).after[-24:], "said": found.skip_message})
        if not Cursor.read(cursor).after and (told[-1]["runs"] or not ordered):
            break
print(json.dumps({"ticks": told, "before_mb": start, "peak_mb": peak()}))
"""


def landing(home: Path, files: int, days: int = 28, flat: bool = False, letters: int = 8) -> None:
    """So many tiny files, spread over days: a folder each, or all in one, named after their day."""
    for day in range(days):
        name = DAY.format(day + 5) if day < 27 else "2026-11-01"
        folder = home / "landing" / "s" / ("" if flat else f"ds={name}")
        folder.mkdir(parents=True, exist_ok=flat)
        for number in range(day, files, days):
            path = folder / f"{name + '_' if flat else ''}{number:0{letters}}.csv"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def know(home: Path, flat: bool = False) -> None:
    """Commit all files as loaded, as the loader does, without reading them."""
    import pyarrow as pa

    from asgard_assets.ingest.files.landing.area import File, Landing, walk
    from asgard_assets.ingest.files.plan.listing import day_of
    from asgard_assets.ingest.files.plan.load_plan import write_plan
    from asgard_assets.ingest.files.plan.manifest import open_manifest
    from asgard_assets.ingest.files.source.models import FileSource
    from asgard_assets.lake import Lake
    from asgard_assets.lake.numbers import plan_id

    rule = {"type": "filename" if flat else "folder"}
    source = FileSource.model_validate({"name": "s", "path": "s", "ds": rule, "description": "d"})
    lake, days = Lake(str(home / "lake")), dict[str, list[File]]()
    for file in walk(Landing(str(home / "landing")), source):
        days.setdefault(day_of(source, file) or "", []).append(file)
    for day, files in days.items():
        plan = write_plan(lake, "s", {day: 0}, {day: files}, replaces=True)
        staging = lake.stage("bronze", "s", pa.schema([("id", pa.string()), ("ds", pa.string())]), [day])
        lake.publish(staging, plans={plan_id("s", day): plan.number})
    open_manifest(lake, "s", fold=True)


def measure(home: Path, ordered: bool, ticks: int = 8, flat: bool = False) -> dict[str, Any]:
    env = os.environ | {"ASGARD_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    told = json.dumps([ordered, ticks, "filename" if flat else "folder"])
    done = subprocess.run(
        [sys.executable, "-c", WORK, told], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _line(name: str, found: dict[str, Any]) -> str:
    ticks = found["ticks"]
    wall, cpu = ([t[name] for t in ticks] for name in ("wall", "cpu"))
    asked = sum(t["runs"] for t in ticks), sum(t["files"] for t in ticks)
    return (
        f"{name:<28} {len(ticks)} ticks: longest {max(wall):.2f} s, {sum(wall):.1f} s in all; CPU {sum(cpu):.2f} s; {asked[0]} runs for {asked[1]} files; "
        f"peak {found['peak_mb']:.0f} MB ({found['before_mb']:.0f} MB after the imports)\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--burst", type=int, default=10_000)
    parser.add_argument("--known", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--flat", action="store_true", help="all known files in one folder")
    parser.add_argument("--letters", type=int, default=8, help="length of their names")
    given = parser.parse_args(arguments)
    out = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="asgard-sensor-") as name:
        landing(Path(name) / "burst", given.burst)
        out(_line(f"burst of {given.burst}", measure(Path(name) / "burst", ordered=False)))
        known = given.home or Path(name) / "known"
        began = time.perf_counter()
        if not (known / "landing").exists():
            landing(known, given.known, flat=given.flat, letters=given.letters)
        if not (known / "lake").exists():
            know(known, given.flat)
        out(f"{given.known} files made and committed in {time.perf_counter() - began:.0f} s\n")
        sys.stdout.flush()
        out(_line(f"{given.known} known, unordered", measure(known, False, flat=given.flat)))
        # The first ticks of an ordered source find out how far it is loaded; that is kept.
        out(_line("the same, ordered", measure(known, True, 40, given.flat)))
        name = "9" * given.letters + ".csv"
        folder = known / "landing" / "s"
        last = folder / (f"2026-11-01_{name}" if given.flat else f"ds=2026-11-01/{name}")
        last.write_text("id\n1\n")
        out(_line("and one new file, ordered", measure(known, True, 10, given.flat)))
        last.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
