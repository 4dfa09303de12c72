"""Shared fixtures: a lake in a temporary folder, and one Spark session for the whole test session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything reads the settings: tests never touch a developer's own data.
os.environ["ASGARD_HOME"] = tempfile.mkdtemp(prefix="asgard-tests-")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
# The demo's calendar: what a test sees does not depend on the day on which it runs.
CALENDAR = {"ASGARD_PARTITION_START": "2026-10-05", "ASGARD_PARTITION_END": "2026-11-02"}
os.environ.update(CALENDAR)

from asgard_assets.lake import Lake  # noqa: E402
from asgard_assets.settings import Settings  # noqa: E402


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
