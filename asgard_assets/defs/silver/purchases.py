"""Purchases with the product's name and price, from the shop's Airbyte sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.quality.tables import Check
from asgard_assets.transforms.history import spans
from asgard_assets.transforms.rows import PROBLEM, Split, missing, split, typed
from asgard_assets.transforms.silver import silver, until

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PURCHASE = {
    "id": "bigint",
    "user_id": "bigint",
    "product_id": "bigint",
    "purchased_at": "timestamp",
    "returned_at": "timestamp",
    "updated_at": "timestamp",
}
PRODUCT = {"id": "bigint", "make": "string", "model": "string", "price": "double", "updated_at": "timestamp"}


@silver(
    inputs=("bronze.purchases", until("bronze.products")),
    key=("purchase_id",),
    description="One row a purchase and day on which the shop reported it; carts are left out.",
    columns={
        "purchase_id": "bigint",
        "customer_id": "bigint",
        "product_id": "bigint",
        "product_name": "string",
        "price": ("double", "Price of the product as last known on `ds`."),
        "purchased_at": "timestamp",
        "returned_at": ("timestamp", "Null unless the purchase was returned."),
    },
    checks=(
        Check(name="price_is_plausible", sql="price between 0 and 10000000"),
        Check(name="customer_is_set", sql="customer_id is not null and purchased_at is not null"),
    ),
)
def purchases(purchases: DataFrame, products: DataFrame) -> Split:
    """A row that still lies in the cart (no `purchased_at`) is no purchase, and no bad row either."""
    from pyspark.sql import functions as F

    known = split(typed(products, PRODUCT), missing("id", "price"), key=("id",), order=("updated_at desc",))
    bought = typed(purchases, PURCHASE).where(f"purchased_at is not null or {PROBLEM} is not null")
    rows = bought.alias("p").join(
        F.broadcast(spans(known.valid, "id")).alias("x"),
        F.expr("p.product_id = x.id and p.ds >= x.ds and (x.next_ds is null or p.ds < x.next_ds)"),
        "left",
    )
    rows = rows.selectExpr("p.*", "concat_ws(' ', x.make, x.model) as product_name", "x.price")
    rules = [
        *missing("id", "user_id", "product_id", "purchased_at"),
        ("product is unknown", "price is null"),
    ]
    return split(rows, rules, key=("id",), order=("updated_at desc",)).select(
        "id as purchase_id",
        "user_id as customer_id",
        "product_id",
        "product_name",
        "price",
        "purchased_at",
        "returned_at",
    )
