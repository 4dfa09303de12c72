"""[model, churn_training_set]: one partition a cut-off, by Feast's point-in-time join."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
import warnings
from collections.abc import Iterator

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import weekly
from asgard_assets.components.tables import Yielded, days_of, publish, table_asset
from asgard_assets.ml.churn import CHURN_VIEWS, WINDOW, training_set
from asgard_assets.ml.training import build, schema, summary
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.settings import Settings

SPEC = training_set()
# A week's cut-off looks back over the bounded window: this week and those before it, as far as there are any.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    HISTORY = dg.TimeWindowPartitionMapping(
        start_offset=-(WINDOW.days // 7 - 1), end_offset=0, allow_nonexistent_upstream_partitions=True
    )
DEPS = [dg.AssetDep(dg.AssetKey(["features", view]), partition_mapping=HISTORY) for view in CHURN_VIEWS]


@table_asset(
    SPEC,
    name="churn_training_set",
    deps=DEPS,
    partitions_def=weekly(),
    # Once a week, when its days are complete. A correction to an old day does not retrain: the next week sees it.
    automation=dg.AutomationCondition.on_missing(),
)
def churn_training_set(
    context: dg.AssetExecutionContext, features: FeatureStoreResource
) -> Iterator[Yielded]:
    with clear_failures():
        weeks = days_of(context)
        with features.open() as store:
            seen = store.lake.epochs(SPEC.stage, SPEC.name, weeks)
            rows = build(store, weeks, Settings().first_day.isoformat())
            staging = store.lake.stage(SPEC.stage, SPEC.name, schema(), weeks, seen)
            store.lake.write(staging, rows)
            table = dg.MetadataValue.md(summary(rows))
            yield from publish(context, store.lake, SPEC, staging, metadata={"snapshots": table})
