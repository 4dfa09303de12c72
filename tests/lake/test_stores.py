"""Where a lake may lie: one suite for every store, those that cannot be used yet with the reason."""

from __future__ import annotations

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake

STORES = {
    "folder": "/data/lake",
    "s3": "s3://bucket/lake",
    "gs": "gs://bucket/lake",
    "azure": "abfss://box@account.dfs.core.windows.net/lake",
    "hdfs": "hdfs://namenode:8020/lake",
    "web": "https://example.com/lake",
}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("made", [Lake, Landing], ids=["lake", "landing"])
@pytest.mark.notimpl("gs", "azure", raises=ConfigError, reason="no engine is given keys for it")
@pytest.mark.notyet("hdfs", raises=ConfigError, reason="delta-rs' wheel has no HDFS")
@pytest.mark.never("web", raises=ConfigError, reason="a web server takes no conditional put")
def test_a_lake_and_a_landing_may_lie_in(store: str, made: type[Lake] | type[Landing]) -> None:
    assert made(STORES[store]).root == STORES[store]
