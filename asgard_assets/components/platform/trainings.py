"""Models whose training scripts were sent to the API, as assets: each run is a version in MLflow."""

# No `from __future__ import annotations`: Dagster wants the types of `context` and `config`, not their names.
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets import strangers
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.platform.contracts import REVISION, Which, tag_of
from asgard_assets.components.tables import Yielded, table_asset
from asgard_assets.errors import AsgardError, ConfigError, ModelError
from asgard_assets.lake import Lake
from asgard_assets.lake.store import Store
from asgard_assets.ml.managed.trainings import Limits, Trained, Training, run_script, trainings, views_for
from asgard_assets.ml.managed.views import ManagedView, reading
from asgard_assets.ml.registry import Provenance, Registry
from asgard_assets.ml.views import EVENT_TIME, feature_views
from asgard_assets.quality.tables import TableSpec
from asgard_assets.revisions import Numbered
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)
CHECK = "predicts_every_row"
OFF = "scripts are not run here: set ASGARD_GATEWAY_TRAINING=true where they may be"


def managed_trainings(own: dg.Definitions, store: Store | None = None) -> dg.Definitions:
    """An asset for each training in the lake, but for models that the project's `own` definitions make.

    A lake that cannot be read is told in the log, and gives none.
    """
    try:
        found = trainings(store or Lake.from_settings()).newest()
    except (AsgardError, OSError) as error:
        log.warning("models that were made through the API are not loaded: %s", error)
        return dg.Definitions()
    taken = {key for each in own.assets or () if isinstance(each, dg.AssetsDefinition) for key in each.keys}
    assets = [trained_model(one) for one in found if dg.AssetKey(["model", one.document.name]) not in taken]
    return dg.Definitions(assets=assets)


def trained_model(revision: Numbered[Training]) -> dg.AssetsDefinition:
    """The asset [model, <name>]: a run gives the script its features, and registers what it leaves."""
    known = revision.document
    spec = TableSpec(
        stage="model",
        name=known.name,
        description="Versions of a model in MLflow, trained by a script that was sent to the API.",
        key=("version",),
        tags={"made_by": "api", "workspace": tag_of(known.workspace)},
        kinds=("mlflow", "python"),
        fresh_hours=24 * 365,
        retries=0,
    )
    deps = [dg.AssetKey(["features", view]) for view in known.views]
    check = dg.AssetCheckSpec(
        CHECK,
        asset=dg.AssetKey(spec.asset_key),
        description="The model gives a value for each row that it was given. Only then is it a champion.",
    )

    @table_asset(
        spec,
        name=f"model_{known.name}",
        deps=[*deps, *([dg.AssetKey(known.labels.split("/"))] if known.labels else [])],
        extra_metadata={
            REVISION: revision.number,
            "dagster/uri": f"models:/{known.name}",
            "script": dg.MetadataValue.md(strangers.block(known.script, "python")),
        },
        required_resource_keys={"lake"},
        checks=[check],
    )
    def body(context: dg.AssetExecutionContext, config: Which) -> Iterator[Yielded]:
        with clear_failures():
            if not Settings().gateway_training:
                raise ConfigError(OFF)
            yield from _trained(
                context, trainings(context.resources.lake.lake).load(known.name, config.revision)
            )

    return body


def _trained(context: dg.AssetExecutionContext, revision: Numbered[Training]) -> Iterator[Yielded]:
    lake, settings, training = context.resources.lake.lake, Settings(), revision.document
    rows, read = _features(lake, training)
    with tempfile.TemporaryDirectory(prefix="asgard-training-") as folder:
        limits = Limits(settings.gateway_training_seconds, settings.gateway_training_memory_gb)
        done = run_script(training.name, training.script, rows, Path(folder), limits)
    context.log.info("the script printed:\n%s", strangers.visible(done.printed[-20_000:]))
    frame = _inputs(done.model, rows.to_pandas())
    values = _predicted(done.model, frame)
    registry = Registry.from_settings(training.name, settings)
    version = registry.register(
        done.model, _provenance(lake, revision, rows, read), (frame.head(5), values[:5]),
        {"revision": revision.number, "rows": len(frame)}, done.metrics, {}, f"Trained by a script of {training.owner or 'the API'}.",
        rows,
    )  # fmt: skip
    champion = registry.promote(version) if training.promote else registry.champion_or_none()
    key = dg.AssetKey(["model", training.name])
    yield dg.AssetCheckResult(passed=True, asset_key=key, check_name=CHECK, metadata={"rows": len(frame)})
    yield dg.MaterializeResult(
        asset_key=key, metadata=_told(version.number, champion and champion.number, done)
    )


def _told(version: int, champion: int | None, done: Trained) -> dict[str, Any]:
    metrics = {f"metric/{name}": value for name, value in done.metrics.items()}
    return {"model_version": version, "champion": champion or 0, **metrics}


def _features(lake: Lake, training: Training) -> tuple[Any, list[ManagedView]]:
    """The rows for the script, and the views that they come from. Raises ConfigError where a view is gone."""
    from asgard_assets.ml.managed.features import training_rows
    from asgard_assets.ml.managed.repository import ManagedRepository
    from asgard_assets.ml.store import open_store

    known = views_for(lake, feature_views())
    if gone := [name for name in training.views if name not in known]:
        raise ConfigError(f"model/{training.name}: there is no feature view {', '.join(gone)}")
    chosen = [known[name] for name in training.views]
    stage, _, labels = training.labels.partition("/")
    with open_store(repository=ManagedRepository(list(known.values()))) as store:
        return training_rows(store, chosen, (stage, labels) if labels else None), chosen


def _inputs(model: Any, frame: Any) -> Any:
    """The columns that the model reads. Raises ModelError where it names columns that it was not given."""
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if not names:
        raise ModelError("the model does not name its columns: fit it on a DataFrame, not on an array")
    if strange := [name for name in names if name not in frame.columns]:
        raise ModelError(f"the model reads {', '.join(strange[:5])}, which are no features that it was given")
    return frame[names]


def _predicted(model: Any, frame: Any) -> Any:
    import pandas as pd

    try:
        values = model.predict(frame)
    except Exception as error:  # whatever a stranger's model can break
        raise ModelError(f"the model cannot predict what it was given: {str(error)[:500]}") from error
    if len(values) != len(frame) or pd.isna(values).any():
        raise ModelError(f"the model gives no value for some of {len(frame):,} rows")
    return values


def _provenance(lake: Lake, revision: Numbered[Training], rows: Any, read: list[ManagedView]) -> Provenance:
    import pyarrow as pa

    training, today = revision.document, f"{datetime.now(UTC):%Y-%m-%d}"
    if not training.labels:  # the moment of asking is no data
        rows = rows.drop_columns([EVENT_TIME])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows.combine_chunks())
    return Provenance(
        partition=today,
        cut_off=today,
        data_hash=hashlib.sha256(sink.getvalue()).hexdigest(),
        table=", ".join(view.table for view in read),
        table_path=lake.path(*read[0].place),
        table_version=reading(lake, read[0]).version,
        features_hash=_short("\n".join(view.model_dump_json() for view in read)),
        code_version=_short(training.script),
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
