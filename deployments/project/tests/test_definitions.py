"""The project loads, and each stage has its example."""

from shop.definitions import defs


def test_every_stage_has_an_asset():
    keys = {spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()}
    assert keys >= {
        "bronze/orders",
        "silver/orders",
        "gold/product_sales",
        "features/product_sales",
        "model/demand_forecast",
    }
