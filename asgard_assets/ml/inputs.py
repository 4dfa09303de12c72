"""What the churn model sees of a training set or of the customers to score.

Numbers are relative: how far a customer is from the average of everybody asked about at the same snapshot,
in standard deviations of the logarithm. Absolute ones drift for reasons that say nothing about a customer:
on the platform's third day "sessions of the last 7 days" are three days' sessions, and "open invoices" only
grow. A model of absolute numbers, trained on early snapshots, takes everybody later for a heavy user with
trouble: it predicted more than twice the true rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.ml.churn import model_inputs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# Beyond this many deviations a customer is as unusual as can be.
FURTHEST = 4.0


def inputs(frame: pd.DataFrame) -> pd.DataFrame:
    """The model's columns. `frame` holds all customers asked about at each of its snapshots.

    A missing number counts as the average; a missing category is `unknown`. No label is looked at.
    """
    numeric, categorical = model_inputs()
    relative = _relative(frame, numeric)
    return relative.join(frame[categorical].astype("string").fillna("unknown").astype("object"))


def part(rows: pa.Table, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Inputs and labels of one split of a training set."""
    frame = rows.to_pandas()
    chosen = frame["split"] == name
    return inputs(frame).loc[chosen], frame.loc[chosen, "cancelled"].to_numpy(dtype=bool)


def _relative(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    import numpy as np

    # In a fixed order, for sums of floats depend on it, and the same customers must get the same numbers.
    ordered = frame.sort_values(["snapshot", "customer_id"])
    values = ordered[columns].astype("float64")
    values = values.apply(lambda column: np.sign(column) * np.log1p(column.abs()))
    by_snapshot = values.groupby(ordered["snapshot"])
    spread = by_snapshot.transform("std").replace(0.0, np.nan)
    distance = (values - by_snapshot.transform("mean")) / spread
    return distance.clip(-FURTHEST, FURTHEST).fillna(0.0).loc[frame.index]
