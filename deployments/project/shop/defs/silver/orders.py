"""Orders with types. Rows that break a rule go to rejected/orders, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.rows import Split, missing, split, typed
from asgard_assets.transforms.silver import silver

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FILE = {
    "order_id": "bigint",
    "product_id": "bigint",
    "quantity": "int",
    "price": "decimal(12,2)",
    "ordered_at": "timestamp",
}


@silver(
    inputs=("bronze.orders",),
    key=("order_id",),
    description="One row for each order, on the day of its export.",
    columns={
        "order_id": "bigint",
        "product_id": "bigint",
        "quantity": "int",
        "price": ("decimal(12,2)", "Price of one piece."),
        "ordered_at": "timestamp",
    },
    checks=(Check(name="price_is_plausible", sql="price between 0 and 100000"),),
)
def orders(orders: DataFrame) -> Split:
    rules = [
        *missing("order_id", "product_id", "quantity", "price"),
        ("quantity is not positive", "quantity <= 0"),
    ]
    return split(typed(orders, FILE), rules, key=("order_id",)).select(*FILE)
