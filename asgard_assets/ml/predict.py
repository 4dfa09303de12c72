"""Batch predictions: features of each day as Feast reads them, scored by one model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgard_assets.lake.sql import arrow_type
from asgard_assets.ml.churn import GOLD, midnight, predictions
from asgard_assets.ml.inputs import inputs
from asgard_assets.ml.model import probabilities
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.training import features_at, population
from asgard_assets.ml.window import require_published

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, arrow_type(column.type)) for name, column in predictions().columns.items()])


def predict(store: OpenStore, model: Any, version: int, days: Sequence[str]) -> pa.Table:
    """Score every customer subscribed at the end of each of `days`, with one Feast read for all days.

    Unlike training, late corrections count: a prediction wants the best that is known now.
    """
    import pyarrow as pa

    require_published(store.lake, *GOLD, days)
    moments = [midnight(day) + timedelta(days=1) for day in days]
    asked = population(store, moments, history=False)
    if asked.empty:
        return schema().empty_table()
    known = features_at(store, asked, history=False)
    # The last digits of a sum depend on how many rows were scored together; a day must not.
    known["churn_probability"] = probabilities(model, inputs(known)).round(9)
    known["ds"] = (known["snapshot"] - timedelta(days=1)).dt.strftime("%Y-%m-%d")
    known["model_version"] = version
    return pa.Table.from_pandas(ranked(known)[schema().names], schema=schema(), preserve_index=False)


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Order each day's customers by probability, ties by id; deciles are of equal size within one."""
    ordered = frame.sort_values(["ds", "churn_probability", "customer_id"], ascending=[True, False, True])
    days = ordered.groupby("ds")["customer_id"]
    ordered["rank"] = days.cumcount() + 1
    ordered["decile"] = (ordered["rank"] - 1) * 10 // days.transform("size") + 1
    return ordered


def top(rows: pa.Table, count: int = 10) -> str:
    """The customers likeliest to leave on the newest day, as a Markdown table."""
    if not rows.num_rows:
        return "No customer is subscribed on these days."
    frame = rows.to_pandas()
    frame = frame[(frame["ds"] == frame["ds"].max()) & (frame["rank"] <= count)]
    lines = [f"| rank | customer | probability | ({frame['ds'].iloc[0]}) |", "|---|---|---|---|"]
    lines += [f"| {r.rank} | {r.customer_id} | {r.churn_probability:.3f} | |" for r in frame.itertuples()]
    return "\n".join(lines)
