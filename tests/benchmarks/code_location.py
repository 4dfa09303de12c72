"""How long the code location takes to load, and which imports that time goes to.

    python -m tests.benchmarks.code_location              # five fresh processes, then one import profile
    python -m tests.benchmarks.code_location --runs 1 --top 40

Every run, launched step and `dagster asset materialize` pays this once; the bar is 6 s on an idle machine of
two cores. Wall time above CPU time means that the machine was busy: measure again. A module's cumulative
time holds that of all modules which it was the first to import.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

LOAD = "import asgard_assets.definitions as d; d.defs().resolve_all_asset_specs()"
PROFILE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


def load() -> tuple[float, float]:
    """Wall and CPU seconds of one fresh process, its children included."""
    code = (
        f"{LOAD}\nimport os; t = os.times(); print(t.user + t.system + t.children_user + t.children_system)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, float(done.stdout.split()[-1])


def profile() -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Seconds by module with all that it imported first, and by package for its own modules alone."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", LOAD], capture_output=True, text=True, check=True
    )
    cumulative: dict[str, float] = {}
    packages: dict[str, float] = {}
    for own, total, _, name in PROFILE.findall(done.stderr):
        cumulative[name] = cumulative.get(name, 0.0) + int(total) / 1e6
        package = name.split(".")[0]
        packages[package] = packages.get(package, 0.0) + int(own) / 1e6
    return _sorted(cumulative), _sorted(packages)


def _sorted(seconds: dict[str, float]) -> list[tuple[float, str]]:
    return sorted(((value, name) for name, value in seconds.items()), reverse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--top", type=int, default=15)
    given = parser.parse_args(arguments)
    measured = [load() for _ in range(given.runs)]
    wall, cpu = (statistics.median(values) for values in zip(*measured, strict=True))
    load_average = psutil.getloadavg()[0]
    lines = [f"median of {given.runs}: {wall:.2f} s wall, {cpu:.2f} s CPU (load average {load_average:.1f})"]
    for title, found in zip(("with what it imports", "package by itself"), profile(), strict=True):
        lines += ["", f"{title:>30}  seconds"]
        lines += [f"{name:>30.60}  {seconds:.2f}" for seconds, name in found[: given.top]]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
