"""Values of views that were sent to the API: the newest online, and as they were known at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake.sql import identifier
from asgard_assets.ml.managed.views import ManagedView, reading
from asgard_assets.ml.servers import keep_only
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.views import EVENT_TIME

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Served:
    """What the online store serves of a view: how many keys, of which version of the table."""

    keys: int
    removed: int
    version: int


def repeated_keys(store: OpenStore, view: ManagedView) -> int:
    """How many rows have no key, or share key and time with another row."""
    keys = ", ".join(map(identifier, view.keys))
    nulls = " or ".join(f"{identifier(name)} is null" for name in view.keys)
    sql = f"select coalesce(sum(n), 0) from (select count(*) as n from ({reading(store.lake, view).sql})"
    sql += f" group by {keys}, {EVENT_TIME} having count(*) > 1 or {nulls})"
    return int(store.duckdb.raw_sql(sql).fetchall()[0][0])


def serve(store: OpenStore, view: ManagedView) -> Served:
    """Fill the online store with the newest values of each key; who is gone from the table is served no more."""
    read = reading(store.lake, view)
    keys = ", ".join(map(identifier, view.keys))
    rows = store.duckdb.raw_sql(
        f"select * from ({read.sql}) qualify row_number() over (partition by {keys} order by {EVENT_TIME} desc, "
        f"created_at desc) = 1 order by {keys}"
    ).df()
    if view.ttl_days and len(rows):
        oldest = datetime.now(UTC).timestamp() - view.ttl_days * 86_400
        rows = rows[rows[EVENT_TIME].map(lambda one: one.timestamp() >= oldest)]
    if len(rows):
        store.feast.write_to_online_store(view.name, rows)
    names = list(view.keys)
    columns = [rows[name].tolist() for name in names]
    kept = set(columns[0]) if len(names) == 1 else set(zip(*columns, strict=True))
    return Served(len(rows), keep_only(store.feast, view, kept)[0], read.version)


def training_rows(
    store: OpenStore,
    views: Sequence[ManagedView],
    labels: tuple[str, str] | None = None,
    now: datetime | None = None,
) -> pa.Table:
    """The features of every key as they are known now; with `labels` (a table) as of each of its rows' event_timestamp.

    Raises ConfigError where the views do not share their key, or the labels lack it.
    """
    keys = list(views[0].keys)
    if other := next((view for view in views if list(view.keys) != keys), None):
        raise ConfigError(
            f"the feature views {views[0].name} and {other.name} are about {', '.join(keys)} and {', '.join(other.keys)}: "
            "name views with one key in `features`"
        )
    asked = _labelled(store, labels, keys) if labels else _known(store, views, keys, now or datetime.now(UTC))
    if not len(asked):
        raise LakeError(f"{views[0].table} has no rows to learn from", table=views[0].table)
    taken = [*asked.columns]
    wanted = list[str]()
    for view in views:
        for name in view.features:
            if name in taken:
                raise ConfigError(f"the column {name} is there twice: once in the feature view {view.name}")
            taken.append(name)
            wanted.append(f"{view.name}:{name}")
    found = store.feast.get_historical_features(asked, wanted).to_arrow()
    return found.select(taken).sort_by([(name, "ascending") for name in (EVENT_TIME, *keys)])


def _known(store: OpenStore, views: Sequence[ManagedView], keys: Sequence[str], now: datetime) -> Any:
    import pandas as pd

    named = ", ".join(map(identifier, keys))
    each = " union ".join(f"select {named} from ({reading(store.lake, view).sql})" for view in views)
    found = store.duckdb.raw_sql(f"select * from ({each}) order by all").df()
    found[EVENT_TIME] = pd.Timestamp(now)
    return found


def _labelled(store: OpenStore, labels: tuple[str, str], keys: Sequence[str]) -> Any:
    stage, name = labels
    if store.lake.table(stage, name) is None:
        raise ConfigError(f"labels: there is no table {stage}.{name}")
    found = store.duckdb.raw_sql(f"select * from {store.lake.delta_scan(stage, name)} order by all").df()
    if missing := [column for column in (*keys, EVENT_TIME) if column not in found.columns]:
        raise ConfigError(f"labels: {stage}.{name} has no column {', '.join(missing)}")
    return found
