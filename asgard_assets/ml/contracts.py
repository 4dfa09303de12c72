"""The tables of a model: its training set, its registered versions, its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from asgard_assets.lake.sql import arrow_type
from asgard_assets.ml.moments import Trained
from asgard_assets.ml.spec import ModelDefinition, ModelSpec
from asgard_assets.ml.views import keys_of
from asgard_assets.quality.tables import Check, Column, TableSpec

if TYPE_CHECKING:
    import pyarrow as pa

_FRESH: Mapping[Trained, float] = {
    "hour": 26,
    "day": 50,
    "week": 8 * 24,
    "month": 32 * 24,
    "none": 100 * 365 * 24,
}
"""Hours after which the training set and the model are shown as stale: a day more than a window; never without windows."""
_WINDOWS: Mapping[Trained, str] = {
    "hour": "Partition: the hour that ends",
    "day": "Partition: the day that ends",
    "week": "Partition: the Monday of the week that ends",
    "month": "Partition: the first day of the month that ends",
    "none": "The day that ends",
}
FIGURES = {"classification": "auc", "regression": "r2"}
"""What the catalog shows first of a version."""
LABEL_TYPES = {"classification": "boolean", "regression": "double"}


def training_set(definition: ModelDefinition) -> TableSpec:
    """One partition a cut-off. Each row carries what the leak checks need to judge it alone."""
    spec = definition.spec
    stage, name = spec.table_name("training_set")
    known = {
        f"{view}__{column}": Column(type="timestamp", description=f"{text} of the row that {view} came from.")
        for view in spec.views
        for column, text in (("event_timestamp", "Event time"), ("created_at", "Knowledge time"))
    }
    return TableSpec(
        stage=stage,
        name=name,
        description=f"Training set of the model {spec.name}: who was asked about at each snapshot, their features as "
        "known then (Feast's point-in-time join on event time and knowledge time), and what happened within "
        f"{spec.horizon_days} days. Written once a cut-off: models are trained from this table alone.",
        key=(*definition.keys, "snapshot"),
        columns=_training_columns(definition, known),
        checks=(*_training_checks(definition, known), *spec.checks),
        owners=spec.owners,
        tags=spec.tags,
        retries=spec.retries,
        kinds=("feast", "delta", "duckdb"),
        fresh_hours=_FRESH[spec.every],
        time_zone=spec.time_zone,
    )


def versions(spec: ModelSpec) -> TableSpec:
    """The registered versions: one a cut-off, in the registry and not in the lake."""
    stage, name = spec.table_name("model")
    return TableSpec(
        stage=stage,
        name=name,
        description=f"A model for each cut-off, registered in MLflow as `{spec.name}` with its training set, metrics and "
        "plots. `@champion` follows only a candidate that beats the champion so far and what needs no model, on new "
        f"data. It predicts: {spec.description}",
        key=("cut_off",),
        columns={
            "cut_off": Column(type="timestamp", description="Nothing that the model learned from is later."),
            "version": Column(type="bigint", description=f"Version of the registered model `{spec.name}`."),
            FIGURES[spec.task]: Column(type="double", description="On the validation snapshots."),
        },
        checks=(
            Check(
                name="reloads_and_scores_alike",
                sql="reloaded prediction = trained prediction",
                description="The registered model, loaded from the registry, predicts what was judged.",
            ),
            Check(
                name="beats_champion_and_baseline",
                sql=f"{spec.judged_by} < champion, average; better than the rule of thumb and than chance",
                severity="warn",
                description="On the same new validation rows. Where it fails the champion stays, and goes on predicting.",
            ),
        ),
        owners=spec.owners,
        tags=spec.tags,
        retries=spec.retries,
        kinds=("mlflow", "scikitlearn"),
        fresh_hours=_FRESH[spec.every],
        time_zone=spec.time_zone,
    )


def predictions(definition: ModelDefinition) -> TableSpec:
    """One row for each entity that is asked about at the end of a day."""
    spec = definition.spec
    stage, name = spec.table_name("predictions")
    certain = spec.task == "classification"
    return TableSpec(
        stage=stage,
        name=name,
        description=f"{spec.description} By the model that is @champion when the partition is computed. Days before the "
        "champion's cut-off are scored with hindsight: they show how today's champion ranks them, and are no "
        "backtest; `model_version` says which model it was.",
        key=tuple(definition.keys),
        columns={
            **_key_columns(definition),
            spec.prediction: Column(
                type="double", description="Between 0 and 1." if certain else "The predicted value."
            ),
            "rank": Column(type="bigint", description="1: the highest prediction of this day."),
            "decile": Column(type="bigint", description="1: the tenth with the highest predictions."),
            "model_version": Column(
                type="bigint", description=f"Version of the registered model `{spec.name}`."
            ),
            "ds": Column(type="string", description="Day at whose end the features hold."),
        },
        checks=(
            Check(name="probability_is_one", sql=f"{spec.prediction} >= 0 and {spec.prediction} <= 1")
            if certain
            else Check(name="prediction_is_a_number", sql=f"isfinite({spec.prediction})"),
            Check(name="names_its_model", sql="model_version > 0"),
            Check(
                name="ranks_without_gaps",
                sql="min(rank) = 1 and max(rank) = count(*) and count(distinct rank) = count(*)",
                aggregate=True,
            ),
        ),
        owners=spec.owners,
        tags=spec.tags,
        retries=spec.retries,
        kinds=("mlflow", "scikitlearn", "delta"),
        time_zone=spec.time_zone,
    )


def schema(table: TableSpec) -> pa.Schema:
    """Arrow schema of a table, from its contract."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(column.type)) for name, column in table.columns.items()])


def _key_columns(definition: ModelDefinition) -> dict[str, Column]:
    return {name: Column(type=kind) for name, kind in keys_of(definition.views.values()).items()}


def _training_columns(definition: ModelDefinition, known: Mapping[str, Column]) -> dict[str, Column]:
    label = definition.spec.label
    return {
        **_key_columns(definition),
        "snapshot": Column(type="timestamp", description="As of when the features hold."),
        label.column: Column(
            type=LABEL_TYPES[definition.spec.task], description=f"Label: {label.description}"
        ),
        "label_until": Column(type="timestamp", description="End of the label's horizon."),
        "label_known_at": Column(
            type="timestamp", description="When the last row behind the label was known."
        ),
        "cut_off": Column(type="timestamp", description="Nothing in this partition is later."),
        "split": Column(type="string", description="train, validation, or gap (left out between the two)."),
        **definition.feature_columns,
        **known,
        "ds": Column(type="string", description=f"{_WINDOWS[definition.spec.every]} with the cut-off."),
    }


def _training_checks(definition: ModelDefinition, known: Iterable[str]) -> tuple[Check, ...]:
    precede = " and ".join(f"({c} is null or {c} <= snapshot)" for c in known)
    found = " and ".join(f"{view}__event_timestamp is not null" for view in definition.spec.views)
    entities = f"count(distinct ({', '.join(definition.keys)}))"
    return (
        Check(
            name="features_precede_their_snapshot",
            sql=precede,
            description="Row by row: event time and knowledge time of every feature are not after the snapshot.",
        ),
        Check(
            name="labels_end_by_the_cut_off",
            sql="label_until <= cut_off and label_known_at <= cut_off and snapshot < label_until",
            description="Row by row: the label's horizon, and all that it rests on, is not after the cut-off.",
        ),
        Check(
            name="splits_share_no_label",
            sql="max(label_until) filter (where split = 'train') <= min(snapshot) filter (where split = 'validation')"
            f" or {entities} filter (where split = 'train') + {entities} filter (where split = 'validation')"
            f" = {entities} filter (where split in ('train', 'validation'))",
            aggregate=True,
            description="Training and validation labels overlap neither in time nor, where they must, in entities.",
        ),
        _outcomes(definition.spec),
        Check(
            name="features_were_found",
            sql=found,
            severity="warn",
            description="Rows without a feature row.",
        ),
    )


def _outcomes(spec: ModelSpec) -> Check:
    outcomes = "count(distinct {}) filter (where split = '{}')"
    train, validation = (outcomes.format(spec.label.column, split) for split in ("train", "validation"))
    if spec.task == "classification":
        return Check(
            name="both_splits_have_both_outcomes",
            sql=f"{train} = 2 and {validation} = 2",
            aggregate=True,
            description="There is something to learn and something to judge by.",
        )
    return Check(
        name="labels_differ_in_both_splits",
        sql=f"{train} > 1 and {validation} > 1",
        aggregate=True,
        description="There is something to learn and something to judge by.",
    )
