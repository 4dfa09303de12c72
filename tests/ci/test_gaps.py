"""Marks of gaps in shared suites: a marked test must fail, and one that begins to pass is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.gaps import GAPS

TEST = """
@pytest.mark.parametrize("store", ["folder", "gs"])
@pytest.mark.{mark}("gs", reason="no bucket here"{more})
def test_{mark}_{name}(store):
    assert {holds}
"""


def suite(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """pytest's run of that test file."""
    (folder / "test_suite.py").write_text(f"import pytest\n{text}")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.gaps", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA",
         "--strict-markers", "--rootdir", str(folder), "test_suite.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What pytest says of each kind of gap: one that is there, one that is gone, one of another error."""
    tests = [
        TEST.format(mark=mark, name=name, holds=holds, more=more)
        for mark in GAPS
        for name, holds, more in (
            ("there", "store != 'gs'", ""),
            ("gone", "store", ""),
            ("other", "store != 'gs'", ", raises=OSError"),
        )
    ]
    done = suite(tmp_path_factory.mktemp("suite"), "".join(tests))
    assert done.returncode == 1, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize("mark", GAPS)
def test_a_gap_is_expected_says_why_and_fails_when_it_is_gone(said: list[str], mark: str) -> None:
    def told(outcome: str, name: str) -> bool:
        return any(line.startswith(f"{outcome} test_suite.py::test_{mark}_{name}") for line in said)

    for name in ("there", "gone", "other"):
        assert told("PASSED", f"{name}[folder]"), "the mark is about the other one"
    assert f"XFAIL test_suite.py::test_{mark}_there[gs] - {mark}: no bucket here" in said
    assert told("FAILED", "gone[gs]") and told("FAILED", "other[gs]")
    assert f"[XPASS(strict)] {mark}: no bucket here" in said


def test_a_gap_without_a_reason_is_refused(tmp_path: Path) -> None:
    done = suite(tmp_path, "@pytest.mark.notimpl\ndef test_it():\n    assert False\n")
    assert done.returncode == 4 and "say why" in done.stderr
