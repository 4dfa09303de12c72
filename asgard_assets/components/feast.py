"""A feature view as an asset: one `defs.yaml` becomes a Feast view, a partitioned asset and its checks."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Iterator

import dagster as dg
from pydantic import BaseModel

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import Yielded, days_of, table_asset
from asgard_assets.lake import Lake
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.ml.window import Window, validate
from asgard_assets.resources.features import FeatureStoreResource


class FeatureView(dg.Component):
    """Features of an entity over one Gold table. The asset writes no table: it validates what Feast reads."""

    def __init__(self, view: FeatureViewSpec) -> None:
        self.view = view

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return FeatureViewSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "FeatureView":
        assert isinstance(attributes, FeatureViewSpec)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=[feature_view_asset(self.view)])


def feature_view_asset(view: FeatureViewSpec) -> dg.AssetsDefinition:
    """The asset [features, <view>]: daily, a range as one run with one read."""
    contract = view.contract
    gold = {
        # The view's rows are Gold's own; there is no other place.
        "dagster/uri": Lake.from_settings().path(view.stage, view.source),
        "dagster/table_name": f"{view.stage}.{view.source}",
        "ttl": f"{view.ttl_days} days",
        "entity": view.entity,
    }

    @table_asset(
        contract,
        name=f"features_{view.name}",
        deps=[dg.AssetKey([view.stage, view.source])],
        partitions_def=daily(),
        automation=on_upstream_change(),
        extra_metadata=gold,
    )
    def body(context: dg.AssetExecutionContext, features: FeatureStoreResource) -> Iterator[Yielded]:
        with clear_failures():
            with features.open() as store:
                window = validate(store, view, days_of(context))
            yield from report(context, view, window)

    return body


def report(context: dg.AssetExecutionContext, view: FeatureViewSpec, window: Window) -> Iterator[Yielded]:
    """Check results and row counts by day; days that break a blocking check fail alone, by name."""
    contract = view.contract
    key = dg.AssetKey(contract.asset_key)
    bad = window.bad_days([check.name for check in contract.all_checks if check.severity == "error"])
    shown = {
        day: {
            "dagster/partition_row_count": count,
            "files_read": window.files[day],
            "gold_version": window.version,
        }
        for day, count in window.rows.items()
        if day not in bad
    }
    results = [
        dg.AssetCheckResult(
            passed=not any(window.broken[check.name].values()),
            asset_key=key,
            check_name=check.name,
            severity=dg.AssetCheckSeverity.ERROR if check.severity == "error" else dg.AssetCheckSeverity.WARN,
            metadata={
                "rows": sum(window.rows.values()),
                "failing": dg.MetadataValue.json({d: n for d, n in window.broken[check.name].items() if n}),
                "partitions": len(window.rows),
            },
        )
        for check in contract.all_checks
    ]
    if bad:
        for day, metadata in shown.items():
            context.log_event(dg.AssetMaterialization(key, partition=day, metadata=metadata))
        yield from results
        raise dg.Failure(
            f"features/{view.name}: Feast does not read these days as declared: "
            + "; ".join(f"{day} ({', '.join(names)})" for day, names in bad.items())
            + f". Correct [{view.stage}, {view.source}] for them, or the view's defs.yaml.",
            metadata={"bad_partitions": list(bad), "valid_partitions": list(shown)},
            allow_retries=False,
        )
    for day, metadata in shown.items():
        context.add_asset_metadata(metadata, asset_key=key, partition_key=day)
    yield from results
    yield dg.MaterializeResult(
        asset_key=key,
        metadata={"gold_version": window.version, "sample": dg.MetadataValue.md(window.sample)},
    )
