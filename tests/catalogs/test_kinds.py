"""In which catalogs a published table can be registered."""

import pytest

from asgard_assets.catalogs.receipts import place_of
from asgard_assets.catalogs.registration import place
from asgard_assets.settings import Settings

ADDRESSES = {"iceberg": "http://nessie:19120/iceberg", "hive": "thrift://metastore:9083"}


@pytest.mark.parametrize("kind", ["iceberg", "hive", "unity"])
@pytest.mark.notyet(
    "unity", raises=KeyError, reason="its own server comes from no registry, and no other was tried"
)
def test_a_published_table_can_be_registered_in(kind: str) -> None:
    settings = Settings(iceberg=ADDRESSES["iceberg"], hive_metastore=ADDRESSES["hive"])
    assert place(settings, kind) == place_of(ADDRESSES[kind])  # pyright: ignore[reportArgumentType]
