"""Feature views as assets, one `defs.yaml` each, and the online store that serves all of them."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.table_scaffolds import FeatureViewScaffolder
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import READS, RECEIPT, opened, receipt, receipt_of
from asgard_assets.components.partitions import windows
from asgard_assets.components.tables import Yielded, check_specs, days_of, refuse_open, table_asset
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import number
from asgard_assets.ml.online import fill
from asgard_assets.ml.views import FeatureViewSpec, feature_views, keys_of
from asgard_assets.ml.window import Window, validate
from asgard_assets.quality.tables import Check, Column, Model, TableSpec
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.settings import Settings

NEWEST = "serves_the_newest_values"


@dg.scaffold_with(FeatureViewScaffolder)
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
    """The asset [features, <view>]: a range of its partitions is one run with one read."""
    contract, place = view.contract, receipt_of("features", view.name)
    gold = {
        READS: {},
        RECEIPT: place,
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
        partitions_def=windows(view.every, view.time_zone),
        automation=on_upstream_change(),
        extra_metadata=gold,
        code_version=f"{number(view.code):x}",
        into_open=view.open_windows,
    )
    def body(context: dg.AssetExecutionContext, features: FeatureStoreResource) -> Iterator[Yielded]:
        with clear_failures():
            if not view.open_windows:
                refuse_open(contract, days_of(context))
            with features.open() as store:
                reads, asked = opened(context, store.lake), days_of(context)
                window = validate(store, view, asked)
                good = good_days(view, window)
                if good:
                    receipt(context, store.lake, reads, place, good)
            yield from report(context, view, window)

    return body


def good_days(view: FeatureViewSpec, window: Window) -> list[str]:
    """Days that break no blocking check."""
    blocking = [check.name for check in view.contract.all_checks if check.severity == "error"]
    bad = window.bad_days(blocking)
    return [day for day in window.rows if day not in bad]


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


class OnlineStoreSpec(Model):
    """The online store. It serves every feature view of the project."""

    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the asset, such as domain: billing."
    )


class OnlineStore(dg.Component):
    """Serves each entity's newest values of every feature view. Unpartitioned, for it only knows *now*."""

    def __init__(self, spec: OnlineStoreSpec) -> None:
        self.spec = spec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return OnlineStoreSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "OnlineStore":
        return cls(attributes if isinstance(attributes, OnlineStoreSpec) else OnlineStoreSpec())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        views = feature_views()
        return dg.Definitions(assets=[online_asset(views, self.spec.tags)] if views else [])


def online_asset(
    views: Mapping[str, FeatureViewSpec], tags: Mapping[str, str] | None = None
) -> dg.AssetsDefinition:
    """The asset [features, online] over these views."""
    keys = keys_of(views.values())
    columns = {name: Column(type=kind, description="Entity key.") for name, kind in keys.items()}
    columns |= {
        f"{view.name}:{name}": Column(type=feature.type, description=feature.description)
        for view in views.values()
        for name, feature in view.features.items()
    }
    spec = TableSpec(
        stage="features",
        name="online",
        description="Each entity's newest features in the online store, read in well under a millisecond. Always "
        "filled up to Gold's newest day: re-running an old day can neither overwrite newer values nor lose a "
        "correction. Who is gone from Gold is no longer served.",
        key=tuple(keys),
        columns=columns,
        checks=(
            Check(
                name=NEWEST,
                sql="online value = newest Gold value",
                description="A sample of entities, read back from the online store, equals Gold's newest rows.",
            ),
        ),
        tags=dict(tags or {}),
        kinds=("feast", urlsplit(Settings().online_store).scheme.partition("+")[0] or "sqlite"),
    )
    condition, place = dg.AutomationCondition, receipt_of("features", "online")

    @table_asset(
        spec,
        name="features_online",
        deps=[dg.AssetKey(["features", name]) for name in views],
        automation=condition.any_deps_updated().since_last_handled()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress(),
        extra_metadata={
            "dagster/uri": _place(),
            READS: {},
            RECEIPT: place,
        },
        checks=[check for check in check_specs(spec) if check.name == NEWEST],
    )
    def online(context: dg.AssetExecutionContext, features: FeatureStoreResource) -> Iterator[Yielded]:
        with clear_failures():
            with features.open() as store:
                reads = opened(context, store.lake)
                latest = fill(store, views)
                receipt(context, store.lake, reads, place)
                versions = {v.table: store.lake.version(v.stage, v.source) for v in views.values()}
        key = dg.AssetKey(spec.asset_key)
        yield dg.AssetCheckResult(
            passed=not latest.differing,
            asset_key=key,
            check_name=NEWEST,
            metadata={
                "compared": latest.compared,
                "differing": dg.MetadataValue.json(latest.differing[:20]),
            },
        )
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "dagster/row_count": max(latest.keys.values()),
                "keys": dg.MetadataValue.json(dict(latest.keys)),
                "removed": dg.MetadataValue.json(dict(latest.removed)),
                "newest": latest.newest.isoformat(),
                "gold_versions": dg.MetadataValue.json(versions),
            },
        )

    return online


def _place() -> str:
    """Where the online store is, without a login."""
    place = urlsplit(Settings().online_store)
    if not place.scheme:
        return str(Settings().home.absolute() / "feast" / "online.db")
    return place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()
