"""One real cluster for all tests of this folder, with an S3 server and the demo API that its pods reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.world import World, open_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in str(item.path):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened
        left = opened.left_behind()
    assert not left, f"left in the cluster: {left}"
