"""A model as three assets: one `defs.yaml` and a fit function become training set, registered model, predictions."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
import math
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel

from asgard_assets.components.authoring.table_scaffolds import TrainedModelScaffolder
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import (
    CORRECTIONS,
    NEVER_BUILT,
    READS,
    RECEIPT,
    opened,
    receipt,
    receipt_of,
)
from asgard_assets.components.partitions import cut_offs, windows
from asgard_assets.components.tables import Yielded, days_of, publish, refuse_open, table_asset
from asgard_assets.ml import contracts
from asgard_assets.ml.candidate import Candidate, code_version, propose
from asgard_assets.ml.judging import plots
from asgard_assets.ml.moments import last_day
from asgard_assets.ml.predict import predict, top
from asgard_assets.ml.project import with_fit
from asgard_assets.ml.registry import Registry
from asgard_assets.ml.spec import ModelDefinition, ModelSpec
from asgard_assets.ml.training import build, summary
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.mlflow import ModelRegistryResource
from asgard_assets.settings import Settings
from asgard_assets.windows import Every

_DAYS: Mapping[Every, float] = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28}
"""How long the shortest window is."""


@dg.scaffold_with(TrainedModelScaffolder)
class TrainedModel(dg.Component):
    """A model that is trained for each cut-off (once a week, or `every`) and predicts every day."""

    def __init__(self, definition: ModelDefinition) -> None:
        self.definition = definition

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return ModelSpec

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "TrainedModel":
        assert isinstance(attributes, ModelSpec)
        return cls(with_fit(attributes, context.path))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=model_assets(self.definition))


def model_assets(definition: ModelDefinition) -> list[dg.AssetsDefinition]:
    """Training set and registered model of each cut-off, and predictions of each day."""
    return [_training_set(definition), _model(definition), _predictions(definition)]


def _training_set(definition: ModelDefinition) -> dg.AssetsDefinition:
    spec, windows = contracts.training_set(definition), _cut_offs(definition)

    @table_asset(
        spec,
        name=spec.name,
        deps=_history(definition),
        partitions_def=windows,
        # Once a window, when its days are complete. A correction to an old day does not retrain: the next one sees it.
        automation=dg.AutomationCondition.on_missing(),
        extra_metadata={READS: {}, CORRECTIONS: 0, NEVER_BUILT: 2},
    )
    def training_set(context: dg.AssetExecutionContext, features: FeatureStoreResource) -> Iterator[Yielded]:
        with clear_failures():
            ends = _ends(definition, context)
            days = list(ends) if windows else []
            with features.open() as store:
                reads = opened(context, store.lake)
                seen = store.lake.epochs(spec.stage, spec.name, days or [""])
                rows = build(definition, store, ends, Settings().first_day.isoformat())
                staging = store.lake.stage(
                    spec.stage, spec.name, contracts.schema(spec), days, seen, whole=windows is None
                )
                store.lake.write(staging, rows)
                table = dg.MetadataValue.md(summary(definition, rows))
                shown = {"snapshots": table}
                yield from publish(context, store.lake, spec, staging, metadata=shown, reads=reads)

    return training_set


def _cut_offs(definition: ModelDefinition) -> dg.TimeWindowPartitionsDefinition | None:
    spec = definition.spec
    return None if spec.every == "none" else cut_offs(spec.every, spec.time_zone)


def _history(definition: ModelDefinition) -> list[dg.AssetDep]:
    """A cut-off looks back over the bounded window: its own window and those before it, as far as there are any."""
    views = [dg.AssetKey(["features", view]) for view in definition.views]
    if definition.spec.every == "none":
        return [dg.AssetDep(view) for view in views]
    count = math.ceil(definition.spec.window_days / _DAYS[definition.spec.every])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        history = dg.TimeWindowPartitionMapping(
            start_offset=1 - count, end_offset=0, allow_nonexistent_upstream_partitions=True
        )
    return [dg.AssetDep(view, partition_mapping=history) for view in views]


def _ends(definition: ModelDefinition, context: dg.AssetExecutionContext) -> dict[str, datetime]:
    """The cut-offs of the run, by the names of their windows; of a model without windows by the last day before it."""
    spec = definition.spec
    if spec.every != "none":
        return {key: spec.cut_off(key) for key in days_of(context)}
    end = spec.cut_off("", datetime.now(UTC))
    return {last_day(end, spec.time_zone): end}


def _model(definition: ModelDefinition) -> dg.AssetsDefinition:
    spec = contracts.versions(definition.spec)
    key, place = dg.AssetKey(spec.asset_key), receipt_of(spec.stage, spec.name)

    @table_asset(
        spec,
        name=spec.name,
        deps=[dg.AssetKey(definition.spec.table_name("training_set"))],
        partitions_def=_cut_offs(definition),
        automation=dg.AutomationCondition.on_missing(),
        code_version=code_version(definition),
        extra_metadata={
            "dagster/uri": f"models:/{definition.spec.name}",
            READS: {},
            RECEIPT: place,
            CORRECTIONS: 0,
            NEVER_BUILT: 2,
        },
        checks=[
            dg.AssetCheckSpec(c.name, asset=key, description=c.description, blocking=c.severity == "error")
            for c in spec.checks
        ],
    )
    def model(
        context: dg.AssetExecutionContext, lake: LakeResource, mlflow: ModelRegistryResource
    ) -> Iterator[Yielded]:
        with clear_failures():
            registry, reads = mlflow.registry(definition.spec.name), opened(context, lake.lake)
            candidates = []
            windows = [] if definition.spec.every == "none" else days_of(context)
            for window in windows or [""]:
                candidate = propose(definition, lake.lake, registry, window)
                if candidate.verdict.passed and candidate.reloads:
                    registry.promote(candidate.version)
                candidates.append(candidate)
                context.add_asset_metadata(_metadata(candidate), asset_key=key, partition_key=window or None)
            receipt(context, lake.lake, reads, place, windows)
        yield from _told(key, candidates, registry)

    return model


def _told(key: dg.AssetKey, candidates: list[Candidate], registry: Registry) -> Iterator[Yielded]:
    """What Dagster is told of the candidates of a run: two checks, and the newest one's figures and plots."""
    failing = {c.partition: c.verdict.reasons for c in candidates if not c.verdict.passed}
    broken = [c.partition for c in candidates if not c.reloads]
    yield dg.AssetCheckResult(
        passed=not broken,
        asset_key=key,
        check_name="reloads_and_scores_alike",
        metadata={"failing": dg.MetadataValue.json(broken), "partitions": len(candidates)},
    )
    yield dg.AssetCheckResult(
        passed=not failing,
        asset_key=key,
        check_name="beats_champion_and_baseline",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failing": dg.MetadataValue.json(failing), "partitions": len(candidates)},
    )
    champion, newest = registry.champion_or_none(), candidates[-1]
    shown = {
        "champion_version": champion.number if champion else "none",
        "comparison": dg.MetadataValue.md(newest.verdict.markdown()),
    }
    pictures = {n: dg.MetadataValue.md(plots.markdown(n, png)) for n, png in newest.pictures.items()}
    yield dg.MaterializeResult(asset_key=key, metadata=shown | pictures)


def _metadata(candidate: Candidate) -> dict[str, object]:
    return {
        # A registered model is one row of the registry for each cut-off.
        "dagster/partition_row_count": 1,
        "model_version": candidate.version.number,
        "mlflow_run_id": candidate.version.run_id,
        "training_set_version": candidate.provenance.table_version,
        **candidate.verdict.candidate,
        "promoted": candidate.verdict.passed and candidate.reloads,
        "why_not": "; ".join(candidate.verdict.reasons) or "-",
    }


def _predictions(definition: ModelDefinition) -> dg.AssetsDefinition:
    spec = contracts.predictions(definition)
    model = dg.AssetKey(definition.spec.table_name("model"))
    # A day needs the champion, whichever week it is of. A promotion alone rewrites no past prediction, and a
    # missing week holds no day back: automation looks at the features only.
    deps = [
        *(dg.AssetKey(["features", view]) for view in definition.views),
        dg.AssetDep(model, partition_mapping=dg.LastPartitionMapping()),
    ]

    @table_asset(
        spec,
        name=spec.name,
        deps=deps,
        partitions_def=windows("day", definition.spec.time_zone),
        automation=on_upstream_change().ignore(dg.AssetSelection.assets(model)),  # type: ignore[attr-defined]
        extra_metadata={READS: {}},
    )
    def predictions(
        context: dg.AssetExecutionContext, features: FeatureStoreResource, mlflow: ModelRegistryResource
    ) -> Iterator[Yielded]:
        with clear_failures():
            days = days_of(context)
            refuse_open(spec, days)
            registry = mlflow.registry(definition.spec.name)
            champion = registry.champion()
            fitted = registry.load(champion)
            with features.open() as store:
                reads = opened(context, store.lake)
                seen = store.lake.epochs(spec.stage, spec.name, days)
                rows = predict(definition, store, fitted, champion.number, days)
                staging = store.lake.stage(spec.stage, spec.name, contracts.schema(spec), days, seen)
                store.lake.write(staging, rows)
                shown = {
                    "model_version": champion.number,
                    "cut_off": champion.cut_off,
                    "top": dg.MetadataValue.md(top(definition, rows)),
                }
                yield from publish(context, store.lake, spec, staging, metadata=shown, reads=reads)

    return predictions
