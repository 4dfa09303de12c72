"""Servers that a machine lacks: their tests are skipped there, and fail where all servers are required, as in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

VARIABLE = "ASGARD_REQUIRE_SERVERS"
MARKS = {"servers", "cluster"}


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where servers are required."""
    if os.environ.get(VARIABLE):
        pytest.fail(f"{reason}, and {VARIABLE} is set")
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """However a test that needs a server was skipped: where servers are required, that is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(VARIABLE):
        if MARKS & {mark.name for mark in item.iter_markers()}:
            report.outcome = "failed"
            report.longrepr = f"skipped, and {VARIABLE} is set: {report.longrepr}"
    return report
