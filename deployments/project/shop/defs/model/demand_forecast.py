"""How much of each product will be sold tomorrow. Replace the average by any model you like."""

import pyarrow as pa

from asgard_assets.components.python import table
from asgard_assets.lake import Lake


@table(
    "model/demand_forecast",
    deps=["gold/product_sales"],
    key=["product_id"],
    columns={"product_id": "bigint", "expected_units": "double"},
    description="Expected sales of each product on the next day: the mean of its last seven days.",
)
def demand_forecast(lake: Lake, days: list[str]) -> pa.Table:
    query = """
        select product_id, units_7d / 7 as expected_units, ds
        from gold.product_sales where ds in (select unnest(?))
    """
    with lake.connect() as connection:
        return connection.execute(query, [days]).to_arrow_table()
