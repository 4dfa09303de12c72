"""What loading files costs: against plain Spark on the same files, and against Spark's own file stream source.

    python -m tests.benchmarks.file_loads small --files 10000     CPU against spark.read.json … write
    python -m tests.benchmarks.file_loads csv --megabytes 2048    one big CSV
    python -m tests.benchmarks.file_loads again --files 10000     the second, incremental run against availableNow

Each side runs in a process of its own, in turns; CPU seconds are those of its whole process tree from after the
session is there until the table is written, medians are of the paired ratios. Memory is
the most that the tree had resident at once, of Python and of the JVM.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.benchmarks.cpu import TreeCpu
from tests.checkout import ROOT

DAY = "2026-10-05"


class Memory(threading.Thread):
    """Watches the process tree: the most that it had resident at once in MB, Python processes and JVM apart."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.python = self.jvm = self.together = 0

    def run(self) -> None:
        import psutil

        me = psutil.Process()
        while True:
            python, jvm = 0, 0
            for each in [me, *me.children(recursive=True)]:
                try:
                    size, java = each.memory_info().rss >> 20, each.name() == "java"
                except psutil.NoSuchProcess:
                    continue
                python, jvm = (python, jvm + size) if java else (python + size, jvm)
            self.python, self.jvm = max(self.python, python), max(self.jvm, jvm)
            self.together = max(self.together, python + jvm)
            time.sleep(0.5)


def landing(home: Path) -> Path:
    return home / "landing" / "b" / f"ds={DAY}"


def small_files(home: Path, count: int, size: int = 10_000) -> None:
    landing(home).mkdir(parents=True)
    chance = random.Random(1)
    for n in range(count):
        lines = []
        while sum(map(len, lines)) < size:
            record = {
                "id": chance.randrange(10**9),
                "name": f"name {chance.random()}",
                "amount": chance.random(),
            }
            lines.append(json.dumps(record | {"tags": {"a": chance.randrange(9), "b": "x" * 20}}) + "\n")
        (landing(home) / f"{n:06}.jsonl").write_text("".join(lines))


def big_csv(home: Path, megabytes: int) -> None:
    landing(home).mkdir(parents=True)
    chance = random.Random(1)
    block = "".join(
        f'{chance.randrange(10**9)},"name, {chance.random()}",{chance.random()},2026-10-05T10:00:00Z,{"y" * 30}\n'
        for _ in range(10_000)
    ).encode()
    with (landing(home) / "big.csv").open("wb") as file:
        file.write(b"id,name,amount,at,filler\n")
        while file.tell() < megabytes << 20:
            file.write(block)


def asgard(spark: object, home: Path, kind: str) -> int:
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.load import commit, load
    from asgard_assets.ingest.files.source.models import FileSource
    from asgard_assets.lake import Lake
    from asgard_assets.quality.audit import audit

    source = FileSource.model_validate(
        {"name": "b", "path": "b", "ds": {"type": "folder"}, "description": "d", "types": "inferred"}
    )
    lake = Lake(str(home / "lake"))
    loaded = load(lambda: spark, lake, Landing(str(home / "landing")), source, [DAY])  # pyright: ignore[reportArgumentType]
    if loaded.staging.days:
        assert audit(lake, loaded.staging, source.spec).bad_days == {}
    commit(lake, loaded)
    return sum(day.rows for day in loaded.days.values())


def plain(spark, home: Path, kind: str) -> int:
    files, target = str(landing(home)), str(home / "plain")
    rows = spark.read.json(files) if kind != "csv" else spark.read.option("header", True).csv(files)
    rows.write.format("delta").mode("append").save(target)
    return spark.read.format("delta").load(target).count()


def stream(spark, home: Path, kind: str) -> int:
    schema = "id long, name string, amount double, tags struct<a: long, b: string>"
    query = (
        spark.readStream.schema(schema)
        .json(str(landing(home)))
        .writeStream.format("delta")
        .option("checkpointLocation", str(home / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(home / "stream"))
    )
    query.awaitTermination()
    return 0


SIDES = {"asgard": asgard, "plain": plain, "stream": stream}


def child(side: str, home: Path, kind: str) -> None:
    """One side in its own process: figures as one line of JSON."""
    from asgard_assets.spark.session import open_session

    spark = open_session()
    spark.range(1).count()
    memory = Memory()
    memory.start()
    with TreeCpu() as cpu:
        began = time.monotonic()
        rows = SIDES[side](spark, home, kind)
        wall = time.monotonic() - began
    figures = {
        "cpu": cpu.seconds,
        "wall": wall,
        "rows": rows,
        "peak_mb": {"python": memory.python, "jvm": memory.jvm, "together": memory.together},
    }
    sys.stdout.write("FIGURES " + json.dumps(figures) + "\n")


def measure(side: str, home: Path, kind: str) -> dict:
    env = {**os.environ, "ASGARD_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.file_loads",
        "child",
        "--side",
        side,
        "--home",
        str(home),
    ]
    done = subprocess.run(
        [*command, "--kind", kind], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    [line] = [text for text in done.stdout.splitlines() if text.startswith("FIGURES ")]
    return json.loads(line.removeprefix("FIGURES "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["small", "csv", "again", "child"])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", default="")
    parser.add_argument("--kind", default="json")
    parser.add_argument("--home", type=Path, default=None)
    asked = parser.parse_args()
    if asked.what == "child":
        child(asked.side, asked.home, asked.kind)
        return
    kind = "csv" if asked.what == "csv" else "json"
    other = "stream" if asked.what == "again" else "plain"
    ratios = []
    with tempfile.TemporaryDirectory(prefix="asgard-bench-") as scratch:
        home = Path(scratch)
        if kind == "csv":
            big_csv(home, asked.megabytes)
        else:
            small_files(home, asked.files)
        if asked.what == "again":
            for side in ("asgard", "stream"):
                measure(side, home, kind)
        for turn in range(asked.pairs):
            if asked.what == "again":
                for n in range(10):
                    (landing(home) / f"new-{turn}-{n}.jsonl").write_text(
                        '{"id": 1, "name": "n", "amount": 0.5}\n'
                    )
            else:
                for folder in ("lake", "plain"):
                    shutil.rmtree(home / folder, ignore_errors=True)
            mine, theirs = measure("asgard", home, kind), measure(other, home, kind)
            ratios.append((mine["cpu"] / theirs["cpu"], theirs["wall"] / mine["wall"]))
            sys.stdout.write(f"asgard {mine}\n{other} {theirs}\n")
    cpu, faster = (statistics.median(r[n] for r in ratios) for n in (0, 1))
    sys.stdout.write(f"CPU {cpu:.2f} x {other}; {faster:.1f} times as fast (median of {asked.pairs} pairs)\n")


if __name__ == "__main__":
    main()
