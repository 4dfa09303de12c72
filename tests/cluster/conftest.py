"""One real cluster for all tests of this folder, with an S3 server and the demo API that its pods reach.

Tests marked `together` mostly wait: they run at the same time in threads, from the moment the cluster is there.
Unmarked ones run meanwhile. Those marked `alone` disturb everybody, and run when all others have ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster.world import World, open_world

AT_ONCE = int(os.environ.get("ASGARD_STORIES_AT_ONCE", "6"))
ORDER = ("", "together", "alone")
RUNNING = pytest.StashKey[dict[str, "Future[Any]"]]()
TOOK = pytest.StashKey[dict[str, tuple[float, float]]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if "tests/cluster/" in str(item.path)]
    for item in here:
        item.add_marker(pytest.mark.cluster)
    here.sort(
        key=lambda item: max(rank for rank, mark in enumerate(ORDER) if not mark or mark in item.keywords)
    )
    items[:] = [item for item in items if item not in here] + here


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        pool, began = ThreadPoolExecutor(AT_ONCE), time.monotonic()
        took = request.config.stash[TOOK] = {}

        def timed(item: pytest.Function) -> None:
            start = time.monotonic()
            try:
                item.obj(opened, **_parameters(item))
            finally:
                took[item.name] = start - began, time.monotonic() - start

        request.session.stash[RUNNING] = {
            item.nodeid: pool.submit(timed, item)
            for item in request.session.items
            if isinstance(item, pytest.Function) and "together" in item.keywords
        }
        try:
            yield opened
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        left = opened.left_behind()
    assert not left, f"left in the cluster: {left}"


def _parameters(item: pytest.Function) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that runs in a thread reports the end of it."""
    if "together" not in pyfuncitem.keywords:
        return None
    pyfuncitem.session.stash[RUNNING][pyfuncitem.nodeid].result()
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """pytest's own durations of these tests are how long they were waited for."""
    if took := config.stash.get(TOOK, {}):
        terminalreporter.section(f"stories, {AT_ONCE} at once")
        for name, (start, seconds) in sorted(took.items(), key=lambda entry: entry[1]):
            terminalreporter.write_line(f"{start:5.0f} s  +{seconds:4.0f} s  {name}")
