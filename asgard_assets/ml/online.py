"""Fill the online store with each customer's newest values, and read them back.

Always up to the newest Gold day, whatever day changed: an older window would overwrite newer values in
SQLite, and a window that only moves forward would never deliver a correction.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asgard_assets.errors import SourceError
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.views import EVENT_TIME, ORIGIN, FeatureViewSpec

SAMPLE = 50


@dataclass(frozen=True)
class Latest:
    """What the online store serves: keys by view, the newest event time, and values that differ from Gold."""

    newest: datetime
    keys: Mapping[str, int]
    compared: int
    differing: list[str]


def fill(store: OpenStore, views: Mapping[str, FeatureViewSpec]) -> Latest:
    """Materialize every view over its last `ttl` up to Gold's newest day, then compare a sample with Gold."""
    newest_of, keys, differing, compared = [], {}, [], 0
    for view in views.values():
        newest = newest_event(store, view)
        newest_of.append(newest)
        with redirect_stdout(io.StringIO()):  # Feast prints its progress
            store.feast.materialize(newest - timedelta(days=view.ttl_days), newest, [view.name])
        expected = _newest_rows(store, view, newest)
        keys[view.name] = len(expected)
        differing += _differences(
            store, view, dict(list(expected.items())[:: max(1, len(expected) // SAMPLE)])
        )
        compared += min(len(expected), SAMPLE)
    return Latest(max(newest_of), keys, compared, differing)


def newest_event(store: OpenStore, view: FeatureViewSpec) -> datetime:
    """Event time of the newest row of the view's table. Raises SourceError where there is none."""
    if store.lake.table(view.stage, view.source) is None:
        newest = None
    else:
        table = store.lake.delta_scan(view.stage, view.source)
        newest = store.duckdb.raw_sql(
            f"""select max({EVENT_TIME}) from {table}
            where {ORIGIN} = (select max({ORIGIN}) from {table})"""
        ).fetchall()[0][0]
    if newest is None:
        raise SourceError(f"{view.table} has no rows yet; materialize it first", source=view.table)
    return newest


def read(store: OpenStore, view: FeatureViewSpec, keys: list[int]) -> dict[int, dict[str, Any]]:
    """Values that the online store serves now, by key."""
    references = [f"{view.name}:{name}" for name in (*view.features, ORIGIN)]
    answer = store.feast.get_online_features(references, [{view.key: key} for key in keys]).to_dict()
    names = [*view.features, ORIGIN]
    return {key: {n: answer[n][i] for n in names} for i, key in enumerate(answer[view.key])}


def _newest_rows(store: OpenStore, view: FeatureViewSpec, newest: datetime) -> dict[int, dict[str, Any]]:
    names = [view.key, *view.features, ORIGIN]
    oldest = newest - timedelta(days=view.ttl_days)
    first_day = (oldest - timedelta(days=1)).date().isoformat()
    table = store.lake.delta_scan(view.stage, view.source)
    found = store.duckdb.raw_sql(
        f"""select {", ".join(names)} from {table} where {EVENT_TIME} >= timestamptz '{oldest.isoformat()}'
        and {ORIGIN} >= '{first_day}'
        qualify row_number() over (partition by {view.key} order by {EVENT_TIME} desc, created_at desc) = 1
        order by 1"""
    ).fetchall()
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in found}


def _differences(
    store: OpenStore, view: FeatureViewSpec, expected: Mapping[int, Mapping[str, Any]]
) -> list[str]:
    served = read(store, view, list(expected))
    return [
        f"{view.name} {view.key}={key} {name}: online {served[key][name]!r}, Gold {value!r}"
        for key, row in expected.items()
        for name, value in row.items()
        if not _equal(served[key][name], value)
    ]


def _equal(left: Any, right: Any) -> bool:
    missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (left, right)]
    if any(missing):
        return all(missing)
    if isinstance(left, float) or isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9)
    return left == right
