"""[model, churn_predictions]: who is likely to leave, day by day, by the model that is champion now."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Iterator

import dagster as dg

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import Yielded, days_of, publish, table_asset
from asgard_assets.ml.churn import CHURN_VIEWS, predictions
from asgard_assets.ml.predict import predict, schema, top
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.resources.mlflow import ModelRegistryResource

SPEC = predictions()
MODEL = dg.AssetKey(["model", "churn_model"])
# A day needs the champion, whichever week it is of. A promotion alone rewrites no past prediction, and a
# missing week holds no day back: automation looks at the features only.
DEPS = [
    *(dg.AssetKey(["features", view]) for view in CHURN_VIEWS),
    dg.AssetDep(MODEL, partition_mapping=dg.LastPartitionMapping()),
]


@table_asset(
    SPEC,
    name="churn_predictions",
    deps=DEPS,
    partitions_def=daily(),
    automation=on_upstream_change().ignore(dg.AssetSelection.assets(MODEL)),  # type: ignore[attr-defined]
)
def churn_predictions(
    context: dg.AssetExecutionContext, features: FeatureStoreResource, mlflow: ModelRegistryResource
) -> Iterator[Yielded]:
    with clear_failures():
        days = days_of(context)
        champion = mlflow.registry.champion()
        fitted = mlflow.registry.load(champion)
        with features.open() as store:
            seen = store.lake.epochs(SPEC.stage, SPEC.name, days)
            rows = predict(store, fitted, champion.number, days)
            staging = store.lake.stage(SPEC.stage, SPEC.name, schema(), days, seen)
            store.lake.write(staging, rows)
            shown = {
                "model_version": champion.number,
                "cut_off": champion.cut_off,
                "top": dg.MetadataValue.md(top(rows)),
            }
            yield from publish(context, store.lake, SPEC, staging, metadata=shown)
