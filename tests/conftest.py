"""Shared fixtures, and what is true of every test: its part, its group of one worker, its time limit."""

from __future__ import annotations

import gc
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# dbt, Dagster and Spark make hundreds of thousands of objects that stay: looking through them costs a twentieth of the time.
gc.set_threshold(100_000, 20, 100)

# Before anything reads the settings: tests never touch a developer's own data.
os.environ["ASGARD_HOME"] = tempfile.mkdtemp(prefix="asgard-tests-")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
# The demo's calendar: what a test sees does not depend on the day on which it runs.
CALENDAR = {"ASGARD_PARTITION_START": "2026-10-05", "ASGARD_PARTITION_END": "2026-11-02"}
os.environ.update(CALENDAR)
os.environ["ASGARD_RETRIES"] = "0"  # a step that is to fail fails at once

from asgard_assets.lake import Lake  # noqa: E402
from asgard_assets.settings import Settings  # noqa: E402
from tests.checkout import COLLECTED, ROOT  # noqa: E402
from tests.ci.parts import PARTS, part_of  # noqa: E402
from tests.gaps import pytest_configure, pytest_itemcollected  # noqa: E402, F401
from tests.patience import loop_seconds, patience  # noqa: E402
from tests.required import pytest_runtest_makereport  # noqa: E402, F401

# What tests with one of these fixtures share takes long to make: they begin at once.
SHARED = ("demo", "spark")
DEMO_SECONDS = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    names = [part.name for part in PARTS]
    parser.addoption("--part", choices=names, metavar="NAME", help=f"only this part: {', '.join(names)}")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are no names: packed ones hold the time, so that two workers would collect different tests."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


def pytest_report_header() -> str:
    return f"loop: {loop_seconds():.2f} s (ten million additions; 0.5 s on a fast machine)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"loop: {loop_seconds():.2f} s")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Files stay in one worker, and all that use the demo in the same. (xdist's own groups need an older pytest.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "demo" if "end_to_end/" in path else path

    return Groups(config, log)  # pyright: ignore


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = [item.nodeid for item in items]
    chosen, others = [], []
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        marks = {mark.name for mark in item.iter_markers()}
        part = part_of(path, item.name, marks)
        if part is not None:
            item.add_marker(pytest.mark.full)
        shared = next((name for name in SHARED if name in getattr(item, "fixturenames", ())), None)
        limit = item.get_closest_marker("timeout")
        # Whichever test comes first pays for the demo.
        usual = DEMO_SECONDS if shared == "demo" else config.getini("timeout")
        seconds = float(limit.args[0] if limit else usual)
        item.add_marker(pytest.mark.timeout(patience(seconds)), append=False)
        wanted = config.getoption("--part")
        (chosen if wanted in (None, part and part.name) else others).append(item)
    config.hook.pytest_deselected(items=others)
    # What many share takes longest: it begins first.
    chosen.sort(key=lambda item: not any(name in getattr(item, "fixturenames", ()) for name in SHARED))
    items[:] = chosen


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Randomness of this test. Its seed is the number of the landing, is printed, and ASGARD_TEST_SEED sets it."""
    seed = os.environ.get("ASGARD_TEST_SEED") or (ROOT / ".ci" / "rotation").read_text().strip()
    print(f"ASGARD_TEST_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a home of the test's own."""
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    return Settings()


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake.from_settings(settings)


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """The one Spark session of the test session."""
    from asgard_assets.spark.session import open_session

    session = open_session()
    yield session
    session.stop()
