"""What `.ci/run` runs: `make check`, `make test`, then parts of the other tests until the clock says stop.

    python -m tests.ci.run STARTED        (seconds since 1970)

Nothing begins after minute 70, and whatever has begun is ended after its limit and counts as failed,
so that a run ends before minute 90 on any machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.checkout import ROOT
from tests.ci import rotation
from tests.ci.parts import PARTS, Part
from tests.ci.plan import LAST_START, PART_LIMIT, Clock, in_order, is_due, next_part
from tests.patience import loop_seconds

CHECK_LIMIT = 20
BUILD = "bash deployments/cluster/build.sh && .venv/bin/python -m deployments.images.build asgard"
# Runs a command for at most so many minutes and says what went wrong, or nothing.
Run = Callable[[Sequence[str], float], str]


@dataclass
class Step:
    name: str
    minutes: float
    problem: str = ""


@dataclass
class Report:
    """What ran, how it ended, and what was left out."""

    steps: list[Step] = field(default_factory=list)
    left: list[Part] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(step.problem for step in self.steps)

    def lines(self, loop: float) -> list[str]:
        said = [f"CI at a loop of {loop:.2f} s (0.5 s on a fast machine, 1.5 s on a slow one)"]
        said += [
            f"  {step.minutes:5.1f} min  {step.name:20} {step.problem or 'passed'}" for step in self.steps
        ]
        left = ", ".join(part.name for part in self.left)
        return [*said, f"left out for lack of time, due in one of the next two landings: {left or 'nothing'}"]


class Cluster(Protocol):
    """The test cluster, which is built beside the other tests."""

    def built(self) -> bool: ...

    def wait(self, minutes: float) -> None:
        """Until it is built, or could not be, or the time is over."""
        ...

    def problem(self) -> str:
        """Why it is not built."""
        ...


@dataclass
class Session:
    """One run of CI. `minutes` tells the time since its start."""

    run: Run
    minutes: Callable[[], float]
    loop: float
    cluster: Cluster
    report: Report = field(default_factory=Report)

    def step(self, name: str, command: Sequence[str], limit: float) -> None:
        began = self.minutes()
        print(f"\n=== {name}, {began:.0f} min after the start", flush=True)
        problem = self.run(command, limit)
        self.report.steps.append(Step(name, self.minutes() - began, problem))

    def all(self, parts: Sequence[Part], number: int, changed: Sequence[str]) -> Report:
        self.step("make check", ["make", "check"], CHECK_LIMIT)
        self.step("make test", ["make", "test"], max(LAST_START - self.minutes(), PART_LIMIT))
        left = self.report.left = in_order(parts, number, changed)
        while part := self.next(left, number):
            left.remove(part)
            self.step(part.name, command_of(part), PART_LIMIT)
        if any(part.cluster and is_due(part, number) for part in left) and not self.cluster.built():
            self.report.steps.append(Step("the test cluster", self.minutes(), self.cluster.problem()))
        return self.report

    def next(self, left: Sequence[Part], number: int) -> Part | None:
        part = next_part(left, number, Clock(self.minutes(), self.loop), self.cluster.built())
        if part is None and any(each.cluster for each in left) and not self.cluster.built():
            self.cluster.wait(LAST_START - self.minutes())
            part = next_part(left, number, Clock(self.minutes(), self.loop), self.cluster.built())
        return part


def command_of(part: Part) -> list[str]:
    """Tests of the cluster run in threads of one process, and in it alone."""
    if part.cluster:
        limits = ["--durations", "40", "--timeout", "1500"]
        return [
            sys.executable,
            "-m",
            "pytest",
            "tests/cluster",
            "-m",
            "not soak",
            "--part",
            part.name,
            *limits,
        ]
    return ["make", "test-part", f"PART={part.name}"]


def ended_after(command: Sequence[str], minutes: float) -> str:
    """Run it with all that it starts, and end that when its time is over."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        end(process)
        return f"ended after {minutes:.0f} min, unfinished"
    return f"exit code {code}" if code else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, those in sessions of their own too."""
    import psutil

    try:
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for wish in (signal.SIGTERM, signal.SIGKILL):
        for each in family:
            try:
                each.send_signal(wish)
            except psutil.NoSuchProcess:
                continue
        _, family = psutil.wait_procs(family, timeout=20)
    process.wait()


class ClusterBuild:
    """Compiles the cluster and makes its images beside the other tests, at a lower priority."""

    def __init__(self, log: Path, command: Sequence[str] = ("nice", "bash", "-c", BUILD)) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def built(self) -> bool:
        return self.process.poll() == 0

    def wait(self, minutes: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(minutes, 0) * 60)

    def problem(self) -> str:
        if self.process.poll() is None:
            return "was not built in time"
        return f"could not be built:\n{self.log.read_text(errors='replace')[-3000:]}"


def main() -> None:
    started = float(sys.argv[1])

    def minutes() -> float:
        return (time.time() - started) / 60

    git, loop = rotation.git_in(ROOT), loop_seconds()
    number = rotation.read((ROOT / rotation.FILE).read_text())
    with tempfile.TemporaryDirectory(prefix="asgard-ci-") as scratch:
        # One demo for all parts, made by the first.
        os.environ["ASGARD_FINISHED_DEMO"] = f"{scratch}/demo"
        build = ClusterBuild(Path(scratch) / "cluster.log")
        try:
            report = Session(ended_after, minutes, loop, build).all(
                PARTS, number, rotation.changed_files(git)
            )
        finally:
            end(build.process)
            ended_after(["bash", "deployments/cluster/down.sh"], 3)
    print("\n" + "\n".join(report.lines(loop)), flush=True)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
