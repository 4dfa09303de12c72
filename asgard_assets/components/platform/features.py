"""Feature views that were sent to the API, as assets: each fills the online store with its newest values."""

# No `from __future__ import annotations`: Dagster wants the types of `context` and `config`, not their names.
import logging
from collections.abc import Iterator

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.platform.contracts import REVISION, Which, tag_of
from asgard_assets.components.tables import Yielded, table_asset
from asgard_assets.errors import AsgardError
from asgard_assets.lake import Lake
from asgard_assets.lake.store import Store
from asgard_assets.ml.managed.views import ManagedView, views
from asgard_assets.ml.views import CREATED, EVENT_TIME
from asgard_assets.quality.tables import KEY_IS_UNIQUE, Column, TableSpec
from asgard_assets.revisions import Numbered

log = logging.getLogger(__name__)


def managed_features(own: dg.Definitions, store: Store | None = None) -> dg.Definitions:
    """An asset for each view in the lake, but for those that the project's `own` definitions make.

    A lake that cannot be read is told in the log, and gives none.
    """
    try:
        found = views(store or Lake.from_settings()).newest()
    except (AsgardError, OSError) as error:
        log.warning("feature views that were made through the API are not loaded: %s", error)
        return dg.Definitions()
    taken = {key for each in own.assets or () if isinstance(each, dg.AssetsDefinition) for key in each.keys}
    assets = [managed_view(one) for one in found if dg.AssetKey(["features", one.document.name]) not in taken]
    return dg.Definitions(assets=assets)


def managed_view(revision: Numbered[ManagedView]) -> dg.AssetsDefinition:
    """The asset [features, <view>]. It writes no table: Feast reads the files of the view's own."""
    known, condition = revision.document, dg.AutomationCondition
    types = {**known.keys, **known.features, EVENT_TIME: "timestamp", CREATED: "timestamp"}
    spec = TableSpec(
        stage="features",
        name=known.name,
        description=known.description or f"Features of {', '.join(known.keys)}, sent to the API.",
        key=tuple(known.keys),
        columns={name: Column(type=kind) for name, kind in types.items()},
        tags={"made_by": "api", "workspace": tag_of(known.workspace)},
        kinds=("feast", "duckdb"),
        fresh_hours=24 * 365,
        retries=0,
    )
    check = dg.AssetCheckSpec(
        KEY_IS_UNIQUE,
        asset=dg.AssetKey(spec.asset_key),
        description=f"({', '.join(known.keys)}) is never null, and has one row at a time.",
    )

    @table_asset(
        spec,
        name=f"features_{known.name}",
        deps=[dg.AssetKey(list(known.place))],
        automation=condition.any_deps_updated().since_last_handled()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress(),
        extra_metadata={REVISION: revision.number, "dagster/table_name": known.table.replace("/", ".")},
        required_resource_keys={"lake"},
        checks=[check],
    )
    def body(context: dg.AssetExecutionContext, config: Which) -> Iterator[Yielded]:
        with clear_failures():
            yield from _served(context, known.name, config.revision)

    return body


def _served(context: dg.AssetExecutionContext, name: str, number: int) -> Iterator[Yielded]:
    from asgard_assets.ml.managed.features import repeated_keys, serve
    from asgard_assets.ml.managed.repository import ManagedRepository
    from asgard_assets.ml.store import open_store

    kept = views(context.resources.lake.lake)
    view = kept.load(name, number).document
    others = [one.document for one in kept.newest() if one.document.name != name]
    key = dg.AssetKey(["features", name])
    with open_store(repository=ManagedRepository([*others, view])) as store:
        repeated = repeated_keys(store, view)
        yield dg.AssetCheckResult(
            passed=not repeated, asset_key=key, check_name=KEY_IS_UNIQUE, metadata={"rows": repeated}
        )
        if repeated:
            raise dg.Failure(
                f"features/{name}: {repeated:,} rows of {view.table} have no {' and '.join(view.keys)}, or share it with "
                "another row of the same time. Name columns in `entities` that name one row",
                allow_retries=False,
            )
        served = serve(store, view)
    yield dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": served.keys,
            "removed": served.removed,
            "table_version": served.version,
        },
    )
