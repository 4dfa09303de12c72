"""What a model sees of a training set, or of the entities to predict for.

Relative numbers say how far an entity is from the average of everybody asked about at the same snapshot, in
standard deviations of the logarithm. Absolute ones may drift for reasons that say nothing about an entity: on a
platform's third day "sessions of the last 7 days" are three days' sessions, and "open invoices" only grow. A
classifier of such numbers, trained on early snapshots, took everybody later for a heavy user with trouble: it
predicted more than twice the true rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgard_assets.ml.spec import ModelDefinition

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# Beyond this many deviations an entity is as unusual as can be.
FURTHEST = 4.0


def inputs(definition: ModelDefinition, frame: pd.DataFrame) -> pd.DataFrame:
    """The model's columns. `frame` holds all entities asked about at each of its snapshots.

    A missing category is `unknown`. A missing number counts as the average where numbers are relative, and stays
    missing where they are plain. No label is looked at.
    """
    numeric, categorical = definition.inputs
    if definition.spec.inputs == "relative":
        numbers = _relative(frame, numeric, definition.keys)
    else:
        numbers = frame[numeric].astype("float64")
    return numbers.join(frame[categorical].astype("string").fillna("unknown").astype("object"))


def part(definition: ModelDefinition, rows: pa.Table, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Inputs and labels of one split of a training set."""
    frame = rows.to_pandas()
    chosen = frame["split"] == name
    kind = bool if definition.spec.task == "classification" else "float64"
    labels = frame.loc[chosen, definition.spec.label.column].to_numpy(dtype=kind)
    return inputs(definition, frame).loc[chosen], labels


def entities(definition: ModelDefinition, rows: pa.Table, split: str) -> np.ndarray:
    """Number of the entity of each row of a split: its snapshots are nearly one observation."""
    frame: pd.DataFrame = rows.select(["split", *definition.keys]).to_pandas()
    frame = frame.loc[frame["split"] == split]
    if len(definition.keys) == 1:
        return frame[definition.keys[0]].to_numpy()
    return frame.groupby(definition.keys, sort=True).ngroup().to_numpy()


def _relative(frame: pd.DataFrame, columns: list[str], keys: list[str]) -> pd.DataFrame:
    import numpy as np

    # In a fixed order, for sums of floats depend on it, and the same entities must get the same numbers.
    ordered = frame.sort_values(["snapshot", *keys])
    values = ordered[columns].astype("float64")
    values = values.apply(lambda column: np.sign(column) * np.log1p(column.abs()))
    by_snapshot = values.groupby(ordered["snapshot"])
    spread = by_snapshot.transform("std").replace(0.0, np.nan)
    distance = (values - by_snapshot.transform("mean")) / spread
    return distance.clip(-FURTHEST, FURTHEST).fillna(0.0).loc[frame.index]
