"""What a model is: who is asked about, what is predicted, from which features. Plain data, and one fit function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from asgard_assets.errors import ConfigError
from asgard_assets.ml.moments import Trained, cut_off
from asgard_assets.ml.views import NUMERIC, FeatureViewSpec, fingerprint, keys_of
from asgard_assets.quality.tables import Check, Column, Model, TimeZone, refuse_slices
from asgard_assets.settings import Settings

Task = Literal["classification", "regression"]
Loss = Literal["log_loss", "brier", "rmse", "mae"]
_LOSSES: dict[Task, tuple[Loss, ...]] = {
    "classification": ("log_loss", "brier"),
    "regression": ("rmse", "mae"),
}
_TABLE = r"^[a-z]+/[a-z0-9_]+$"
_NAME = r"^[a-z][a-z0-9_]*$"


class Label(Model):
    """What is predicted: an aggregate over the rows that one entity gets within the horizon after a snapshot."""

    sql: str = Field(
        description="Aggregate over those rows, such as `sum(units)` or `bool_or(state = 'cancelled')`."
    )
    otherwise: str | None = Field(
        default=None,
        description="SQL value of the label where the entity has no row within the horizon, such as `0`. "
        "Without it such entities are left out.",
    )
    table: str | None = Field(
        default=None,
        pattern=_TABLE,
        description="Table of these rows, `stage/name`, with `event_timestamp` and `created_at`. Default: `table` "
        "of the model.",
    )
    column: str = Field(default="label", pattern=_NAME, description="Its column in the training set.")
    description: str = Field(default="", description="What the label means, for the catalog.")


class Rule(Model):
    """A rule of thumb without training. A model that is no better is not promoted."""

    name: str = Field(description="What the rule says in two words, for tables and messages.")
    sql: str = Field(
        description="Its prediction for one row of the training set, in SQL. Features are columns such as "
        "`view__feature`; `average` is the average label of the training rows."
    )


class ModelSpec(Model):
    """One model: three assets, `<name>_training_set`, `<name>_model` and `<name>_predictions`.

    A snapshot is the end of a day. A cut-off is the end of a week, or of `every`: what a model learns from is not later.
    """

    name: str = Field(pattern=_NAME, description="Name of the registered model, and prefix of its assets.")
    description: str = Field(description="What is predicted, for the catalog and the registry.")
    task: Task = Field(description="classification: yes or no; regression: a number.")
    table: str = Field(
        pattern=_TABLE,
        description="Table, `stage/name`, whose rows of a day are the entities that are asked about at its end.",
    )
    population: str = Field(default="true", description="SQL condition on these rows: who is asked about.")
    views: tuple[str, ...] = Field(min_length=1, description="Feature views that the model learns from.")
    service: str | None = Field(
        default=None,
        description="Feast feature service with these views and on-demand views. Default: all features of the views.",
    )
    on_demand: dict[str, Column] = Field(
        default_factory=dict,
        description="Columns that on-demand views of the service add, as `view__feature`.",
    )
    features: tuple[str, ...] = Field(
        default=(),
        description="Features, as `view__feature`, that the model sees. Default: all. The others are stored in the "
        "training set too.",
    )
    label: Label = Field(description="What is predicted, as an aggregate over later rows.")
    horizon_days: int = Field(ge=1, description="How many days after a snapshot the label looks ahead.")
    window_days: int = Field(
        ge=2, description="How many days before the cut-off the snapshots begin. At least the horizon."
    )
    every: Trained = Field(
        default="week",
        description="How often the model is trained: once an hour, day, week or month that has ended. none: once, and then "
        "whenever somebody asks; the cut-off is the end of the last day.",
    )
    time_zone: TimeZone = Field(
        default="",
        description="Zone of its days and cut-offs, which is that of `table`. Empty: ASGARD_TIME_ZONE.",
    )
    validation_snapshots: int = Field(
        default=3, ge=1, description="The last snapshots, which judge the model."
    )
    inputs: Literal["relative", "plain"] = Field(
        default="plain",
        description="relative: numbers count as the distance from the average of all entities at the same snapshot. "
        "plain: numbers as they are.",
    )
    rule: Rule | None = Field(default=None, description="A rule of thumb that the model must beat.")
    loss: Loss | None = Field(
        default=None,
        description="What a candidate must lower to become champion: log_loss (default) or brier for a "
        "classification, rmse (default) or mae for a regression.",
    )
    prediction: str = Field(default="prediction", pattern=_NAME, description="Column of the predicted value.")
    checks: tuple[Check, ...] = Field(default=(), description="Further checks on the training set.")
    fit: str = Field(
        default="fit.py", description="Python file beside the YAML with a function fit(x, y, groups)."
    )
    owners: tuple[str, ...] = Field(
        default=(),
        description="Owners, as Dagster writes them: team:billing or an e-mail address. Default: ASGARD_OWNER.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the three assets, such as domain: billing."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_slices(cls, given: Any) -> Any:
        column = next(iter(given.get("partitions") or {}), "region") if isinstance(given, dict) else ""
        return refuse_slices(
            given,
            f"a model has one champion, which predicts for all. Leave it out, and give it {column} as a feature; or write one model "
            f"for each {column}, with `population: {column} = '…'`",
        )

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSpec:
        if self.window_days < self.horizon_days + 1:
            raise ValueError(
                f"window_days is {self.window_days}, and labels need {self.horizon_days} days after a snapshot; "
                f"use at least {self.horizon_days + 1}"
            )
        if self.loss is not None and self.loss not in _LOSSES[self.task]:
            raise ValueError(
                f"loss {self.loss} is none of a {self.task}; use {' or '.join(_LOSSES[self.task])}"
            )
        return self

    @property
    def code(self) -> str:
        """All that it says, as text. What came later and is not said is left out: a version of before stays what it was."""
        unsaid = {
            name
            for name in ("every", "time_zone")
            if getattr(self, name) == type(self).model_fields[name].default
        }
        return self.model_dump_json(exclude=unsaid)

    def cut_off(self, partition: str, now: datetime | None = None) -> datetime:
        """The end of the window `partition`; without windows, of the last day that has ended `now`."""
        return cut_off(partition, self.every, self.time_zone, now)

    @property
    def window(self) -> timedelta:
        return timedelta(days=self.window_days)

    @property
    def source(self) -> tuple[str, str]:
        """Stage and name of the table of those who are asked about."""
        return _parts(self.table)

    @property
    def label_source(self) -> tuple[str, str]:
        return _parts(self.label.table or self.table)

    @property
    def judged_by(self) -> Loss:
        return self.loss or _LOSSES[self.task][0]

    def table_name(self, kind: Literal["training_set", "model", "predictions"]) -> tuple[str, str]:
        """Stage and name of one of the model's assets."""
        return "model", f"{self.name}_{kind}"


@dataclass(frozen=True)
class ModelDefinition:
    """A spec with the feature views that it names, its fit function, and the file that holds the function."""

    spec: ModelSpec
    views: Mapping[str, FeatureViewSpec]
    fit: Callable[..., Any]
    code: Path

    @property
    def keys(self) -> list[str]:
        """Columns that name one entity."""
        return list(keys_of(self.views.values()))

    @property
    def feature_columns(self) -> dict[str, Column]:
        """Columns that Feast returns for the model, in a fixed order."""
        columns = {
            view.column(name): Column(type=feature.type, description=feature.description)
            for view in self.views.values()
            for name, feature in view.features.items()
        }
        return columns | self.spec.on_demand

    @property
    def inputs(self) -> tuple[list[str], list[str]]:
        """Numeric and categorical columns that the model sees."""
        columns = {n: c for n, c in self.feature_columns.items() if n in (self.spec.features or {n})}
        numeric = [name for name, column in columns.items() if column.type in NUMERIC]
        return numeric, [name for name in columns if name not in numeric]

    @property
    def features_hash(self) -> str:
        return fingerprint(dict(self.views))


def define(
    spec: ModelSpec, views: Mapping[str, FeatureViewSpec], fit: Callable[..., Any], code: Path
) -> ModelDefinition:
    """The spec with its views. Raises ConfigError where a view or a feature that it names does not exist."""
    missing = [name for name in spec.views if name not in views]
    if missing:
        raise ConfigError(
            f"model {spec.name}: no feature view {', '.join(missing)}; there are {', '.join(sorted(views)) or 'none'}"
        )
    found = ModelDefinition(spec, {name: views[name] for name in spec.views}, fit, code)
    _refuse_two_zones(spec, found.views)
    unknown = [name for name in spec.features if name not in found.feature_columns]
    if unknown:
        raise ConfigError(
            f"model {spec.name}: no feature {', '.join(unknown)}; there are "
            f"{', '.join(found.feature_columns)}"
        )
    reserved = {*found.keys, "snapshot", "label_until", "label_known_at", "cut_off", "split", "ds"}
    if spec.label.column in reserved:
        raise ConfigError(f"model {spec.name}: the training set has a column {spec.label.column} already")
    return found


def _refuse_two_zones(spec: ModelSpec, views: Mapping[str, FeatureViewSpec]) -> None:
    own = spec.time_zone or Settings().time_zone
    for view in views.values():
        zone = view.time_zone or Settings().time_zone
        if view.table in (spec.table, spec.label.table) and zone != own:
            raise ConfigError(
                f"model {spec.name} has days of {own}, and its table {view.table} those of {zone}; write time_zone: {zone}"
            )


def _parts(table: str) -> tuple[str, str]:
    stage, _, name = table.partition("/")
    return stage, name
