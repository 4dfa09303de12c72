"""No component test meets a server that happens to run; Airbyte tests start their own over a fake source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asgard_assets.components.airbyte import refresh_snapshot
from deployments.local.airbyte.syncs import Syncs
from tests.fakes.airbyte import Fake, serving, write_instance
from tests.fakes.airbyte_instance import NOBODY


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_AIRBYTE_URL", NOBODY)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
def served(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Syncs, Path]]:
    """A server over the fake source with streams users and orders, and an instance with its snapshot."""
    syncs = fake.open({"rows": 4}, streams=("users", "orders"))
    folder = write_instance(fake.folder / "airbyte", syncs.registry.id)
    with serving(syncs) as url:
        monkeypatch.setenv("ASGARD_AIRBYTE_URL", url)
        refresh_snapshot(folder)
        yield syncs, folder
