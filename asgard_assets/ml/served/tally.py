"""Counts of values by the deciles of the training set. Single values are never kept.

Distance is the population stability index: sum of (p - q) * ln(p / q) over the bins. By convention more than 0.25 is a shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from asgard_assets.quality.tables import Model

SHIFT = 0.25
FEWEST_ROWS = 200
"""Of fewer rows nothing is said: their distance is chance."""


class Column(Model):
    """Counts of one column. The last bin holds what is missing."""

    edges: tuple[float, ...] = Field(description="Where one bin ends and the next begins.")
    trained: tuple[int, ...] = Field(description="Values of the training set in each bin.")
    served: tuple[int, ...] = Field(description="Values that were sent for predictions, in each bin.")


class Shadow(Model):
    """How a version that nobody sees has answered the same rows."""

    version: int = Field(description="The version in the shadow.")
    rows: int = Field(default=0, description="Rows that both have predicted.")
    differing: int = Field(default=0, description="Rows in which they say something else.")
    failed: int = Field(default=0, description="Requests that the shadow could not answer.")


class Tally(Model):
    """What a version was asked."""

    rows: int = Field(default=0, description="Rows that it has predicted.")
    columns: dict[str, Column] = Field(default={}, description="Its numeric inputs.")
    shadow: Shadow | None = Field(
        default=None, description="The newest version in the shadow, if one was asked for."
    )


def bins(frame: Any, names: Sequence[str]) -> dict[str, Column]:
    """The numeric columns of a training set, by deciles."""
    import numpy as np

    found = dict[str, Column]()
    for name in names:
        if name not in frame.columns or not np.issubdtype(frame[name].dtype, np.number):
            continue
        values = frame[name].to_numpy(dtype=float)
        there = values[np.isfinite(values)]
        if not len(there):
            continue
        edges = tuple(float(one) for one in np.unique(np.quantile(there, np.linspace(0.1, 0.9, 9))))
        trained = counted(values, edges)
        found[name] = Column(edges=edges, trained=trained, served=(0,) * len(trained))
    return found


def counted(values: Any, edges: Sequence[float]) -> tuple[int, ...]:
    """How many values are in each bin."""
    import numpy as np

    numbers = np.asarray(values, dtype=float)
    there = np.isfinite(numbers)
    inner = np.bincount(np.searchsorted(edges, numbers[there], side="left"), minlength=len(edges) + 1)
    return (*(int(one) for one in inner), int((~there).sum()))


def added(one: Tally, other: Tally) -> Tally:
    """Both together. Of a column with other bins, those of `one` are kept."""
    columns = dict(one.columns)
    for name, column in other.columns.items():
        known = columns.get(name)
        if known is None:
            columns[name] = column
        elif known.edges == column.edges:
            served = tuple(a + b for a, b in zip(known.served, column.served, strict=True))
            columns[name] = known.model_copy(update={"served": served})
    return Tally(rows=one.rows + other.rows, columns=columns, shadow=_both(one.shadow, other.shadow))


def _both(one: Shadow | None, other: Shadow | None) -> Shadow | None:
    if one is None or other is None:
        return one or other
    newest = max(one.version, other.version)
    same = [each for each in (one, other) if each.version == newest]
    return Shadow(
        version=newest, rows=sum(each.rows for each in same), differing=sum(each.differing for each in same),
        failed=sum(each.failed for each in same),
    )  # fmt: skip


def distance(expected: Sequence[int], found: Sequence[int]) -> float:
    """The population stability index of two lists of counts; bins without values count as half a value."""
    shares = [[(one + 0.5) / (sum(side) + 0.5 * len(side)) for one in side] for side in (expected, found)]
    return sum((q - p) * math.log(q / p) for p, q in zip(*shares, strict=True))


def drift(tally: Tally) -> Mapping[str, float]:
    """How far what was asked is from the training set, by column. Empty where too few rows were asked."""
    if tally.rows < FEWEST_ROWS:
        return {}
    return {name: distance(one.trained, one.served) for name, one in tally.columns.items()}


def skew(tally: Tally, now: Mapping[str, Any]) -> Mapping[str, float]:
    """How far what was asked is from the values of `now`, by column."""
    if tally.rows < FEWEST_ROWS:
        return {}
    return {
        name: distance(counted(now[name], one.edges), one.served)
        for name, one in tally.columns.items()
        if name in now and len(now[name])
    }
