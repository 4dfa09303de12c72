"""The Feast repository: entities, the views declared under `asgard_assets/defs/features`, and services.

A feature view is one YAML file there; what needs code stands here: entities, on-demand views, services.
"""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String

from asgard_assets.lake import Lake
from asgard_assets.ml.churn import CHURN_VIEWS
from asgard_assets.ml.views import CREATED, EVENT_TIME, ORIGIN, feature_views

TYPES = {"bigint": Int64, "double": Float64, "string": String, "boolean": Bool}

customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.INT64,
    description="A customer, by the id that every source shares.",
)
ENTITIES = {entity.name: entity for entity in [customer]}


def _view(spec) -> FeatureView:
    """Gold's own Delta table as a feature view. `ds` says which Gold row a joined value came from."""
    schema = [Field(name=n, dtype=TYPES[f.type], description=f.description) for n, f in spec.features.items()]
    source = FileSource(
        name=f"{spec.name}_source",
        path=Lake.from_settings().duckdb_path(spec.stage, spec.source),
        file_format=DeltaFormat(),
        timestamp_field=EVENT_TIME,
        created_timestamp_column=CREATED,
    )
    return FeatureView(
        name=spec.name,
        entities=[ENTITIES[spec.entity]],
        ttl=timedelta(days=spec.ttl_days),
        schema=[*schema, Field(name=ORIGIN, dtype=String)],
        source=source,
        description=spec.description,
        tags=dict(spec.tags),
        owner=next(iter(spec.owners), ""),
    )


VIEWS = {name: _view(spec) for name, spec in feature_views().items()}
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
    features=[*(VIEWS[name] for name in CHURN_VIEWS), spend_per_order],
    description="What the churn model sees of a customer.",
)
