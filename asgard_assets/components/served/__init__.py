"""Checks of models that are asked over the API: whether the inputs are like those of the training set, and of the tables now."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from asgard_assets.errors import AsgardError
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.trainings import views_for
from asgard_assets.ml.registry import Registry
from asgard_assets.ml.served.notes import Notes
from asgard_assets.ml.served.tally import FEWEST_ROWS, SHIFT, Tally, drift, skew
from asgard_assets.ml.views import feature_views

log = logging.getLogger(__name__)
DRIFT, SKEW = "served_like_the_training_set", "served_like_the_tables"
_DESCRIPTIONS = {
    DRIFT: "Inputs that were sent for predictions are like those that the champion was trained on.",
    SKEW: "Inputs that were sent for predictions are like the values in the tables that the features come from.",
}
_MOST_ROWS = 100_000
_URI = "dagster/uri"


def with_served(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which each registered model has the two checks, and a schedule that runs them where a model was asked."""
    models = dict[dg.AssetKey, str]()
    for spec in loaded.resolve_all_asset_specs():
        uri = str(getattr(spec.metadata.get(_URI), "value", spec.metadata.get(_URI, "")))
        if uri.startswith("models:/"):
            models[spec.key] = uri.removeprefix("models:/")
    if not models:
        return loaded
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=text)
        for key in models
        for name, text in _DESCRIPTIONS.items()
    ]

    @dg.multi_asset_check(name="served", specs=specs, can_subset=True)
    def served(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        lake = Lake.from_settings()
        for key in sorted({one.asset_key for one in context.selected_asset_check_keys}):
            yield from judged(lake, key, models[key], {one.name for one in context.selected_asset_check_keys})

    job = dg.define_asset_job("served_models", selection=dg.AssetSelection.checks(served))

    @dg.schedule(
        job=job, cron_schedule="7 * * * *", default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compares what models were asked over the API with their training set and with the tables.",
    )  # fmt: skip
    def served_models_schedule(context: dg.ScheduleEvaluationContext) -> Any:
        day = f"{context.scheduled_execution_time:%Y-%m-%d}"
        if not any(asked_on(Lake.from_settings(), name, day) for name in models.values()):
            return dg.SkipReason("no model was asked over the API today")
        return dg.RunRequest()

    checks = dg.Definitions(asset_checks=[served], jobs=[job], schedules=[served_models_schedule])
    return dg.Definitions.merge(loaded, checks)


def asked_on(lake: Lake, model: str, day: str) -> bool:
    """Whether anybody asked the model on a day. A registry or lake that cannot be read says no."""
    try:
        champion = Registry.from_settings(model).champion_or_none()
        return champion is not None and day in Notes(lake).days(model, champion.number)
    except (AsgardError, OSError) as error:
        log.warning("whether %s was asked is not known: %s", model, error)
        return False


def judged(lake: Lake, key: dg.AssetKey, model: str, names: set[str]) -> Iterator[dg.AssetCheckResult]:
    """The results of a model's checks. One that was not asked passes, and says so."""
    champion = Registry.from_settings(model).champion_or_none()
    found = Notes(lake).read(model, champion.number) if champion else Tally()
    told: dict[str, Any] = {
        "version": champion.number if champion else 0,
        "rows": found.rows,
        "rows_needed": FEWEST_ROWS,
    }
    if DRIFT in names:
        yield _result(key, DRIFT, drift(found), told)
    if SKEW in names:
        now = values_now(lake, list(found.columns))
        compared = {"not_in_a_table": ", ".join(sorted(set(found.columns) - set(now))) or "none"}
        yield _result(key, SKEW, skew(found, now), told | compared)


def values_now(lake: Lake, columns: Sequence[str]) -> Mapping[str, Any]:
    """Values of features in the tables that they come from, by name: of the newest partition, where a table has some."""
    found = dict[str, Any]()
    views = views_for(lake, feature_views())
    with lake.connect() as connection:
        for view in views.values():
            wanted = [name for name in columns if name in view.features and name not in found]
            if not wanted:
                continue
            stage, table = view.place
            delta = lake.snapshot(stage, table).delta
            if delta is None:
                continue
            partitioned = "ds" in delta.metadata().partition_columns
            newest = f'where ds = (select max(ds) from "{stage}"."{table}")' if partitioned else ""
            names = ", ".join(f'"{name}"' for name in wanted)
            rows = connection.sql(f'select {names} from "{stage}"."{table}" {newest} limit {_MOST_ROWS}').df()  # noqa: S608
            found |= {name: rows[name].to_numpy() for name in wanted}
    return found


def _result(
    key: dg.AssetKey, name: str, distances: Mapping[str, float], told: Mapping[str, Any]
) -> dg.AssetCheckResult:
    shifted = sorted(column for column, value in distances.items() if value > SHIFT)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=not shifted,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **told,
            "shifted": ", ".join(shifted) or "none",
            "distance": dg.MetadataValue.json(
                {column: round(value, 4) for column, value in distances.items()}
            ),
            "shift_above": SHIFT,
        },
    )
