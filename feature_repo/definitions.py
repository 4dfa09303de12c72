"""What of the feature repository needs code: on-demand views and services.

Entities and feature views are YAML files under `asgard_assets/defs/features`.
"""

import pandas as pd
from feast import FeatureService, Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from asgard_assets.ml.repository import feast_views

VIEWS = feast_views()
globals().update(VIEWS)  # the feast CLI collects module attributes


@on_demand_feature_view(
    sources=[VIEWS["customer_value"][["orders", "total_purchases"]]],
    schema=[Field(name="spend_per_order", dtype=Float64)],
    description="Average order: computed when asked for, never stored.",
)
def spend_per_order(inputs: pd.DataFrame) -> pd.DataFrame:
    orders = inputs["orders"].astype("float64")
    spend = inputs["total_purchases"].astype("float64") / orders.where(orders > 0)
    return pd.DataFrame({"spend_per_order": spend})


churn = FeatureService(
    name="churn",
    features=[VIEWS["customer_value"], VIEWS["customer_activity"], spend_per_order],
    description="What the churn model sees of a customer.",
)
