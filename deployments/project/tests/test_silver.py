"""A Silver function is tested on a few rows, without a table."""

from shop.defs.silver.orders import orders

from asgard_assets.spark.session import open_session


def test_an_order_without_pieces_is_rejected():
    spark = open_session()
    columns = ["order_id", "product_id", "quantity", "price", "ordered_at", "ds"]
    rows = [
        ("1", "7", "2", "4.50", "2026-01-05 10:00:00", "2026-01-05"),
        ("2", "7", "0", "4.50", "2026-01-05 10:00:00", "2026-01-05"),
    ]
    found = orders(orders=spark.createDataFrame(rows, columns))
    assert [row.order_id for row in found.valid.collect()] == [1]
    assert [row.reason for row in found.rejected.collect()] == ["quantity is not positive"]
