"""Where a sink's streams are, below the landing root."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.operations.ingestion.airbyte import Sink
from deployments.local.airbyte.registry import Destination


@pytest.mark.parametrize(
    ("bucket", "path", "folder"),
    [
        ("data-lake", "bronze", "data-lake/bronze/my_orders"),
        ("data-lake", "bronze/raw", "data-lake/bronze/raw/my_orders"),
        ("landing", "airbyte", "airbyte/my_orders"),
        ("lake", "airbyte", "airbyte/my_orders"),
        ("data-lake", "", "airbyte/my_orders"),
        ("landing", "shop", "shop/my_orders"),
    ],
)
def test_the_local_server_lands_where_a_transform_reads(tmp_path: Path, bucket: str, path: str, folder: str):
    assert Sink("d", "s", "default", bucket, path).folder("my orders", str(tmp_path)) == folder
    config = {"s3_bucket_name": bucket, "s3_bucket_path": path}
    assert Destination("d", "s", config).folder(tmp_path / "airbyte") / "my_orders" == tmp_path / folder


def test_on_s3_a_sink_lies_below_the_landing_root():
    sink = Sink("d", "s", "default", "data-lake", "landing/bronze")
    assert sink.folder("orders", "s3://data-lake/landing") == "bronze/orders"
    for root in ("s3://data-lake/other", "s3://lake/landing", "s3://data-lake/land"):
        with pytest.raises(ConfigError, match="ASGARD_LANDING"):
            sink.folder("orders", root)


@pytest.mark.parametrize(
    ("bucket", "path"), [("..", "x"), ("b", "../x"), ("b", "/etc/../x"), ("b", "."), (".ssh", "x")]
)
def test_a_destination_that_leads_elsewhere_is_refused(tmp_path: Path, bucket: str, path: str):
    with pytest.raises(ValueError, match="no bucket and path"):
        Destination("d", "s", {"s3_bucket_name": bucket, "s3_bucket_path": path}).folder(tmp_path)
