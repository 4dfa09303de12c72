"""CI requires every server: a test that skips for want of one fails the run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

SUITE = """
import pytest
from tests.required import missing

@pytest.fixture
def database():
    missing("no database here")

@pytest.fixture
def forgetful():
    pytest.skip("this fixture does not ask what is required")

@pytest.mark.servers
def test_fixture(database): ...

@pytest.mark.servers
def test_other(forgetful): ...

@pytest.mark.cluster
def test_body(): pytest.skip("no cluster here")

@pytest.mark.servers
@pytest.mark.skipif(True, reason="no jars here")
def test_mark(): ...

def test_plain(): pytest.skip("no address of this kind here")

@pytest.mark.servers
@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
"""
SKIPPED = {"fixture", "other", "body", "mark"}


@pytest.mark.parametrize("required", ["", "1"], ids=["by hand", "in CI"])
def test_a_skipped_server_test_fails_where_servers_are_required(tmp_path: Path, required: str) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.required", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA",
         "--rootdir", str(tmp_path), "test_suite.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "ASGARD_REQUIRE_SERVERS": required},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = set(re.findall(r"^(?:FAILED|ERROR) test_suite.py::test_(\w+)", done.stdout, re.MULTILINE))
    assert failed == (SKIPPED if required else set()), done.stdout
    assert done.returncode == bool(required)


def test_ci_requires_servers() -> None:
    assert re.search(r"^export ASGARD_REQUIRE_SERVERS=1", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
