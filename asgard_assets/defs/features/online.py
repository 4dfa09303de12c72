"""The online store: each customer's newest values. Unpartitioned, for it only knows *now*."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.tables import Yielded, check_specs, table_asset
from asgard_assets.lake import Lake
from asgard_assets.ml.online import fill
from asgard_assets.ml.views import feature_views
from asgard_assets.quality.tables import Check, Column, TableSpec
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.settings import Settings

VIEWS = feature_views()
SPEC = TableSpec(
    stage="features",
    name="online",
    description="Each customer's newest features in the online store (SQLite), read in well under a millisecond. Always "
    "filled up to Gold's newest day: re-running an old day can neither overwrite newer values nor lose a correction.",
    key=("customer_id",),
    columns={"customer_id": Column(type="bigint", description="Entity key.")}
    | {
        f"{view.name}:{name}": Column(type=feature.type, description=feature.description)
        for view in VIEWS.values()
        for name, feature in view.features.items()
    },
    checks=(
        Check(
            name="serves_the_newest_values",
            sql="online value = newest Gold value",
            description="A sample of customers, read back from the online store, equals Gold's newest rows.",
        ),
    ),
    tags={"domain": "customer"},
    kinds=("feast", "sqlite"),
)
CHECKS = [check for check in check_specs(SPEC) if check.name == "serves_the_newest_values"]
AUTOMATION = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


@table_asset(
    SPEC,
    name="features_online",
    deps=[dg.AssetKey(["features", name]) for name in VIEWS],
    automation=AUTOMATION,
    extra_metadata={"dagster/uri": str(Settings().home.absolute() / "feast" / "online.db")},
    checks=CHECKS,
)
def online(features: FeatureStoreResource) -> Iterator[Yielded]:
    with clear_failures():
        with features.open() as store:
            latest = fill(store, VIEWS)
            versions = {view.table: _version(store.lake, view.stage, view.source) for view in VIEWS.values()}
    key = dg.AssetKey(SPEC.asset_key)
    yield dg.AssetCheckResult(
        passed=not latest.differing,
        asset_key=key,
        check_name="serves_the_newest_values",
        metadata={"compared": latest.compared, "differing": dg.MetadataValue.json(latest.differing[:20])},
    )
    yield dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": max(latest.keys.values()),
            "keys": dg.MetadataValue.json(dict(latest.keys)),
            "newest": latest.newest.isoformat(),
            "gold_versions": dg.MetadataValue.json(versions),
        },
    )


def _version(lake: Lake, stage: str, name: str) -> int:
    return lake.version(stage, name)
