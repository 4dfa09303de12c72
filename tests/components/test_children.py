"""Child tables of an API source in its asset: declared in the YAML, checked, published and shown beside it."""

from __future__ import annotations

import dagster as dg
import pytest

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.lake import Lake
from asgard_assets.operations.runs import launches
from asgard_assets.operations.sources import catalog
from tests.components.test_api import RESOURCES, materialize
from tests.fakes.rest_api import serving
from tests.ingest.api.sources import TICKETS, source
from tests.ingest.api.test_children import LINES, Shop, document

DAYS = ["2026-10-05", "2026-10-06"]
ORDERS, ORDER_LINES = dg.AssetKey(["bronze", "orders"]), dg.AssetKey(["bronze", "order_lines"])
DISCOUNTS = dg.AssetKey(["bronze", "discounts"])


@pytest.fixture
def api():
    with serving(Shop()) as server:
        yield server


def test_a_nested_list_is_an_asset_with_checks_and_counts(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    asset = api_asset(ApiIngestModel.model_validate({"source": document(api, LINES)}))
    specs = {spec.key: spec for spec in asset.specs}
    assert {dep.asset_key for dep in specs[ORDER_LINES].deps} == {ORDERS}
    assert [column.name for column in specs[ORDER_LINES].metadata["dagster/column_schema"].columns][:4] == [
        "request_id", "row_key", "parent_id", "sku",
    ]  # fmt: skip
    checks = {(spec.asset_key, spec.name) for spec in asset.check_specs}
    assert {(key, "item_keys_are_unique") for key in (ORDERS, ORDER_LINES, DISCOUNTS)} <= checks
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(asset, lake, instance, partition_key=DAYS[0])
        assert result.success
        shown = {e.asset_key: e for e in result.asset_materializations_for_node("api_orders")}
        assert shown.keys() == {ORDERS, ORDER_LINES, DISCOUNTS}
        lines = sum(number % 4 for number in range(1, 26))
        assert shown[ORDER_LINES].metadata["dagster/partition_row_count"].value == lines
        assert lake.table("bronze", "order_lines") is not None
        assert {e.asset_key for e in result.get_asset_check_evaluations()} == {ORDERS, ORDER_LINES, DISCOUNTS}
        api.orders[0]["cart"]["lines"] = "none"
        failed = materialize(asset, lake, instance, raise_on_error=False, partition_key=DAYS[1])
        assert not failed.success
        for key in shown:
            assert instance.get_materialized_partitions(key) == {DAYS[0]}


def test_a_run_of_one_of_the_tables_is_a_run_of_all(api):
    asset = api_asset(ApiIngestModel.model_validate({"source": document(api, LINES)}))
    definitions = dg.Definitions(assets=[asset], resources=RESOURCES)
    for key in (ORDERS, DISCOUNTS):
        (one,) = launches(definitions.resolve_asset_graph(), {key.to_user_string(): DAYS[:1]})
        assert {*one.assets} == {key.to_user_string() for key in (ORDERS, ORDER_LINES, DISCOUNTS)}
    (found,) = catalog(definitions).sources
    assert found.tables == ("bronze/orders", "bronze/order_lines", "bronze/discounts")


def test_a_source_without_nested_lists_is_one_asset():
    asset = api_asset(ApiIngestModel(source=source(TICKETS)))
    assert len(list(asset.specs)) == 1
