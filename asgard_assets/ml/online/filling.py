"""Fill the online store with each entity's newest values, and read them back.

Always up to the newest Gold day, whatever day changed: an older window would overwrite newer values, and a window
that only moves forward would never deliver a correction. Who is gone from Gold, or has no
row within the ttl, is removed: Feast itself would serve the last values for ever.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asgard_assets.errors import SourceError
from asgard_assets.ml.servers import Key, keep_only
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.views import EVENT_TIME, ORIGIN, FeatureViewSpec

SAMPLE = 50


@dataclass(frozen=True)
class Latest:
    """What the online store serves: keys by view, the newest event time, and values that differ from Gold.

    `removed`: how many keys of each view it no longer serves.
    """

    newest: datetime
    keys: Mapping[str, int]
    removed: Mapping[str, int]
    compared: int
    differing: list[str]


def fill(store: OpenStore, views: Mapping[str, FeatureViewSpec]) -> Latest:
    """Materialize every view over its last `ttl` up to Gold's newest day, then compare a sample with Gold."""
    newest_of, keys, removed, differing, compared = [], {}, {}, [], 0
    for view in views.values():
        newest = newest_event(store, view)
        newest_of.append(newest)
        with redirect_stdout(io.StringIO()):  # Feast prints its progress
            store.feast.materialize(newest - timedelta(days=view.ttl_days), newest, [view.name])
        expected = _newest_rows(store, view, newest)
        keys[view.name] = len(expected)
        removed[view.name], missing = keep_only(store.feast, view, expected.keys())
        differing += [f"{view.name} {', '.join(view.keys)}={key}: is not served" for key in missing[:SAMPLE]]
        differing += _differences(
            store, view, dict(list(expected.items())[:: max(1, len(expected) // SAMPLE)])
        )
        compared += min(len(expected), SAMPLE)
    return Latest(max(newest_of), keys, removed, compared, differing)


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


def read(store: OpenStore, view: FeatureViewSpec, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    """Values that the online store serves now, by key: one value, or a tuple where the view has several columns."""
    asked, names = list(keys), [*view.features, ORIGIN]
    rows = [dict(zip(view.keys, _columns(key), strict=True)) for key in asked]
    answer = store.feast.get_online_features([f"{view.name}:{name}" for name in names], rows).to_dict()
    return {key: {n: answer[n][i] for n in names} for i, key in enumerate(asked)}


def _newest_rows(store: OpenStore, view: FeatureViewSpec, newest: datetime) -> dict[Key, dict[str, Any]]:
    count, names = len(view.keys), [*view.keys, *view.features, ORIGIN]
    oldest = newest - timedelta(days=view.ttl_days)
    first = view.calendar.key_at(oldest - timedelta(microseconds=1))
    table, keys = store.lake.delta_scan(view.stage, view.source), ", ".join(view.keys)
    found = store.duckdb.raw_sql(
        f"""select {", ".join(names)} from {table} where {EVENT_TIME} >= timestamptz '{oldest.isoformat()}'
        and {ORIGIN} >= '{first}'
        qualify row_number() over (partition by {keys} order by {EVENT_TIME} desc, created_at desc) = 1
        order by {keys}"""
    ).fetchall()
    return {_key(row[:count]): dict(zip(names[count:], row[count:], strict=True)) for row in found}


def _key(values: Sequence[Any]) -> Key:
    return values[0] if len(values) == 1 else tuple(values)


def _columns(key: Key) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _differences(
    store: OpenStore, view: FeatureViewSpec, expected: Mapping[Key, Mapping[str, Any]]
) -> list[str]:
    served = read(store, view, list(expected))
    return [
        f"{view.name} {', '.join(view.keys)}={key} {name}: online {served[key][name]!r}, Gold {value!r}"
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
