"""Commands with a limit, and the part of every test."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.checkout import COLLECTED, ROOT
from tests.ci.parts import PARTS, SERVERS, part_of
from tests.ci.run import ClusterBuild, ended_after

FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The tests of each file, with their parameters, as pytest finds them: this session, or one that runs none."""
    found = by_file(request.config.stash[COLLECTED])
    if found.keys() == set(FILES):
        return found
    command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return by_file(done.stdout.splitlines())


def by_file(tests: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in tests:
        path, colons, name = line.partition("::")
        if colons and path.endswith(".py"):
            found.setdefault(path, []).append(name)
    return found


@pytest.mark.slow
def test_every_test_is_run_by_make_test_or_by_a_part(collected: dict[str, list[str]]):
    """`make test` runs whatever is in no part; of the cluster's tests all are in one, the full counts apart."""
    assert collected.keys() == set(FILES)
    for path in FILES:
        if path.startswith("tests/cluster/") and not path.endswith("test_soak.py"):
            for test in collected[path]:
                part = part_of(path, test, ())
                assert part and part.cluster, f"{path}::{test}"


@pytest.mark.slow
def test_every_pattern_of_a_part_means_one_file_and_takes_tests_from_no_other(
    collected: dict[str, list[str]],
):
    for part in PARTS:
        for wanted in part.tests:
            file = wanted.partition("::")[0]
            at = [path for path in FILES if f"/{path}".endswith(f"/{file}")]
            assert len(at) == 1, f"{part.name}: {wanted} is in {at}"
            only = replace(part, tests=(wanted,))
            mine = [test for test in collected[at[0]] if only.has(at[0], test, {SERVERS})]
            assert any(part_of(at[0], test, {SERVERS}) == part for test in mine), f"{part.name}: {wanted}"


def test_the_make_targets_leave_out_what_they_say():
    made = subprocess.run(
        ["make", "-n", "test", "test-fast", "test-all"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.findall(r'-m "(.*?)"', made.stdout) == [
        "not full and not soak and not cluster",
        "not full and not soak and not cluster and not servers and not slow",
        "not soak and not cluster",
    ]


def test_each_turn_has_about_a_third_and_each_part_at_most_eight_minutes():
    assert all(part.minutes <= 8 for part in PARTS)
    thirds = [sum(part.minutes for part in PARTS if part.turn == turn) for turn in range(3)]
    assert max(thirds) - min(thirds) <= 8


def test_a_command_that_does_not_end_is_ended_with_its_descendants(tmp_path: Path):
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    )
    assert "unfinished" in ended_after([sys.executable, "-c", parent], 0.1)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_the_exit_code_is_told():
    assert ended_after(["true"], 1) == ""
    assert ended_after(["bash", "-c", "exit 5"], 1) == "exit code 5"


@pytest.mark.parametrize(("command", "built"), [("true", True), ("echo no Go; false", False)])
def test_a_cluster_that_cannot_be_built_says_why(tmp_path: Path, command: str, built: bool):
    build = ClusterBuild(tmp_path / "log", ["bash", "-c", command])
    build.wait(1)
    assert build.built() is built
    assert built or "no Go" in build.problem()


def test_a_build_that_goes_on_is_not_waited_for_longer_than_asked(tmp_path: Path):
    build = ClusterBuild(tmp_path / "log", ["sleep", "600"])
    began = time.monotonic()
    build.wait(0.01)
    assert not build.built() and time.monotonic() - began < 300
    assert "not built in time" in build.problem()
    build.process.kill()
    build.process.wait()


def test_no_part_is_named_like_a_folder():
    """pytest would take the name for a path, read that folder's conftest alone, and not know `--part`."""
    assert [part.name for part in PARTS if (ROOT / part.name).exists()] == []
