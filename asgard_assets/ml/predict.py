"""Batch predictions: features of each day as Feast reads them, scored by one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asgard_assets import strangers
from asgard_assets.ml.contracts import predictions, schema
from asgard_assets.ml.inputs import inputs
from asgard_assets.ml.judging.outcomes import kind_of
from asgard_assets.ml.moments import day_end
from asgard_assets.ml.spec import ModelDefinition
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.training import features_at, population
from asgard_assets.ml.window import require_published

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def predict(
    definition: ModelDefinition, store: OpenStore, model: Any, version: int, days: Sequence[str]
) -> pa.Table:
    """Score everybody who is asked about at the end of each of `days`, with one Feast read for all days.

    Unlike training, late corrections count: a prediction wants the best that is known now.
    """
    import pyarrow as pa

    spec, columns = definition.spec, schema(predictions(definition))
    require_published(store.lake, *spec.source, days)
    moments = [day_end(day, spec.time_zone) for day in days]
    day_of = {moment.timestamp(): day for moment, day in zip(moments, days, strict=True)}
    asked = population(definition, store, moments, history=False)
    if asked.empty:
        return columns.empty_table()
    known = features_at(definition, store, asked, history=False)
    # The last digits of a sum depend on how many rows were scored together; a day must not.
    known[spec.prediction] = kind_of(spec.task).predict(model, inputs(definition, known)).round(9)
    known["ds"] = [day_of[moment.timestamp()] for moment in known["snapshot"]]
    known["model_version"] = version
    rows = ranked(definition, known)[columns.names]
    return pa.Table.from_pandas(rows, schema=columns, preserve_index=False)


def ranked(definition: ModelDefinition, frame: pd.DataFrame) -> pd.DataFrame:
    """Order each day's entities by prediction, ties by key; deciles are of equal size within one."""
    keys = definition.keys
    ordered = frame.sort_values(
        ["ds", definition.spec.prediction, *keys], ascending=[True, False, *(True for _ in keys)]
    )
    days = ordered.groupby("ds")["ds"]
    ordered["rank"] = days.cumcount() + 1
    ordered["decile"] = (ordered["rank"] - 1) * 10 // days.transform("size") + 1
    return ordered


def top(definition: ModelDefinition, rows: pa.Table, count: int = 10) -> str:
    """The highest predictions of the newest day, as a Markdown table."""
    if not rows.num_rows:
        return "Nobody is asked about on these days."
    keys, value = definition.keys, definition.spec.prediction
    frame = rows.to_pandas()
    frame = frame[(frame["ds"] == frame["ds"].max()) & (frame["rank"] <= count)]
    return strangers.table(
        ["rank", *keys, value, f"({frame['ds'].iloc[0]})"],
        ([row["rank"], *(row[key] for key in keys), f"{row[value]:.3f}", ""] for _, row in frame.iterrows()),
    )
