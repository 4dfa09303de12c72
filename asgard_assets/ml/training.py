"""Training sets: who was subscribed at each snapshot, what was known of them then, and who cancelled.

Two clocks are respected. Event time: features hold as of the snapshot, labels end by the cut-off.
Knowledge time: a Gold row whose `created_at` is after the snapshot (or, for labels, after the cut-off)
is as if it were not there, because whoever trained at that time could not have had it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ModelError
from asgard_assets.lake.sql import arrow_type
from asgard_assets.ml.churn import (
    CHURN_VIEWS,
    GOLD,
    HORIZON,
    WINDOW,
    churn_views,
    cut_off,
    day_ending,
    feature_columns,
    midnight,
    training_set,
)
from asgard_assets.ml.store import SERVICE, OpenStore
from asgard_assets.ml.views import ORIGIN
from asgard_assets.ml.window import require_published
from asgard_assets.windows import days_between

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VALIDATION_SNAPSHOTS = 3
FEWEST_TRAINING_SNAPSHOTS = 3
# Of ten customers, those held out for validation where snapshots are too few to keep labels apart in time.
HELD_OUT_TENTHS = 3


@dataclass(frozen=True)
class Split:
    """Which snapshots train and which validate. `by_customer`: their labels overlap, so customers must not."""

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    by_customer: bool

    def of(self, snapshot: datetime, customer_id: int) -> str:
        held_out = customer_id * 2_654_435_761 % 2**32 % 10 < HELD_OUT_TENTHS
        if snapshot in self.validation and (held_out or not self.by_customer):
            return "validation"
        if snapshot in self.train and not (held_out and self.by_customer):
            return "train"
        return "gap"


def snapshots(end: datetime, first_day: str) -> list[datetime]:
    """Midnights of the bounded window before the cut-off `end` whose labels are complete by then."""
    first = max(end - WINDOW, midnight(first_day) + timedelta(days=1))
    count = (end - HORIZON - first).days + 1
    return [first + timedelta(days=n) for n in range(max(count, 0))]


def split(moments: Sequence[datetime]) -> Split:
    """The last snapshots validate. Training ends a whole horizon earlier, so that no label is in both.

    Where that leaves fewer than three snapshots (the first cut-off has seven in all), all earlier ones
    train, and validation is kept apart by customers instead.
    """
    validation = tuple(moments[-VALIDATION_SNAPSHOTS:]) if len(moments) > 4 else tuple(moments[-1:])
    apart = tuple(moment for moment in moments if moment + HORIZON <= validation[0])
    if len(apart) >= FEWEST_TRAINING_SNAPSHOTS:
        return Split(apart, validation, False)
    return Split(tuple(moment for moment in moments if moment < validation[0]), validation, True)


def build(store: OpenStore, partitions: Sequence[str], first_day: str) -> pa.Table:
    """Rows of the training set of each cut-off, with one population query and one Feast join for all.

    Raises SourceError where Gold lacks a day, ModelError where a cut-off has too little history.
    """
    import pandas as pd
    import pyarrow as pa

    moments: dict[str, list[datetime]] = {}
    for partition in partitions:
        moments[partition] = snapshots(cut_off(partition), first_day)
        if len(moments[partition]) < 2:
            raise ModelError(
                f"cut-off {cut_off(partition):%Y-%m-%d}: history begins on {first_day}, which leaves "
                f"{len(moments[partition])} snapshots with a full 7 days of outcome; choose a later week"
            )
    last = max(cut_off(partition) for partition in partitions)
    earliest = min(m[0] for m in moments.values())
    require_published(store.lake, *GOLD, days_between(day_ending(earliest), day_ending(last)))
    asked = sorted({moment for m in moments.values() for moment in m})
    known = features_at(store, population(store, asked, history=True), history=True)
    frames = []
    for partition in partitions:
        labelled = labels(store, moments[partition], cut_off(partition)).merge(
            known, on=["customer_id", "snapshot"], how="left", validate="one_to_one"
        )
        plan = split(moments[partition])
        labelled["cut_off"] = pd.Timestamp(cut_off(partition))
        labelled["split"] = [
            plan.of(s.to_pydatetime(), c)
            for s, c in zip(labelled["snapshot"], labelled["customer_id"], strict=True)
        ]
        labelled["ds"] = partition
        frames.append(labelled)
    rows = pd.concat(frames, ignore_index=True).sort_values(["ds", "snapshot", "customer_id"])
    return pa.Table.from_pandas(rows[schema().names], schema=schema(), preserve_index=False)


def schema() -> pa.Schema:
    """Arrow schema of the training set, from its table contract."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(column.type)) for name, column in training_set().columns.items()])


def population(store: OpenStore, moments: Sequence[datetime], *, history: bool) -> pd.DataFrame:
    """Customers subscribed at each snapshot: customer_id, snapshot. `history`: as known then."""
    known = " and created_at <= event_timestamp" if history else ""
    days = ", ".join(f"'{day_ending(moment)}'" for moment in moments)
    return _query(
        store,
        f"""select customer_id, event_timestamp as snapshot from gold
        where {ORIGIN} in ({days}) and subscription = 'active'{known} order by 2, 1""",
    )


def labels(store: OpenStore, moments: Sequence[datetime], end: datetime) -> pd.DataFrame:
    """The population with `cancelled`, the end of the label's horizon, and when the label was known."""
    days = ", ".join(f"'{day_ending(moment)}'" for moment in moments)
    return _query(
        store,
        f"""with asked as (
            select customer_id, event_timestamp as snapshot from gold
            where {ORIGIN} in ({days}) and subscription = 'active' and created_at <= event_timestamp
        ), later as (
            select customer_id, event_timestamp, created_at, subscription from gold
            where event_timestamp > timestamptz '{moments[0].isoformat()}'
            and event_timestamp <= timestamptz '{end.isoformat()}' and created_at <= timestamptz '{end.isoformat()}'
        )
        select asked.customer_id, snapshot, coalesce(bool_or(subscription = 'cancelled'), false) as cancelled,
            snapshot + interval {HORIZON.days} day as label_until,
            greatest(coalesce(max(created_at), snapshot), snapshot) as label_known_at
        from asked left join later on later.customer_id = asked.customer_id and later.event_timestamp > snapshot
            and later.event_timestamp <= snapshot + interval {HORIZON.days} day
        group by 1, 2 order by 2, 1""",
    )


def features_at(store: OpenStore, asked: pd.DataFrame, *, history: bool) -> pd.DataFrame:
    """Feast's point-in-time join for the service `churn`, with the origin of each value.

    `history`: leave out what was not yet known at the moment asked about. Each view's `__event_timestamp`
    and `__created_at` are read from the Gold row that the value came from, not from what Feast filtered by.
    """
    entity = asked.rename(columns={"snapshot": "event_timestamp"})
    service = store.feast.get_feature_service(SERVICE)
    joined = store.feast.get_historical_features(
        entity, features=service, full_feature_names=True, filter_by_created_timestamp=history
    ).to_df()
    joined = joined.rename(columns={"event_timestamp": "snapshot"})
    for name, column in feature_columns().items():
        if column.type in ("bigint", "double"):
            # Feast turns whole numbers with misses into floats; the table's schema turns them back.
            joined[name] = joined[name].astype("Int64" if column.type == "bigint" else "float64")
    for view in CHURN_VIEWS:
        origin = f"{view}__{ORIGIN}"
        rows = origins(store, view)
        joined = joined.merge(rows, on=["customer_id", origin], how="left", validate="many_to_one")
    columns = [f"{view}__{name}" for view in CHURN_VIEWS for name in ("event_timestamp", "created_at")]
    return joined.loc[:, ["customer_id", "snapshot", *feature_columns(), *columns]]


def origins(store: OpenStore, view: str) -> pd.DataFrame:
    """Event and knowledge time of every row of a view's table, by key and partition."""
    spec = churn_views()[view]
    table = store.lake.delta_scan(spec.stage, spec.source)
    return _frame(
        store.duckdb.raw_sql(
            f"""select customer_id, {ORIGIN} as {view}__{ORIGIN}, event_timestamp as {view}__event_timestamp,
            created_at as {view}__created_at from {table}"""
        )
    )


def content_hash(rows: pa.Table) -> str:
    """Hash of the rows, independent of order, file layout and table version."""
    ordered = rows.sort_by([("ds", "ascending"), ("snapshot", "ascending"), ("customer_id", "ascending")])
    frame = ordered.select(sorted(ordered.column_names)).to_pandas()
    return hashlib.sha256(frame.to_csv(index=False, float_format="%.12g").encode()).hexdigest()


def summary(rows: pa.Table) -> str:
    """Rows, outcomes and snapshots of each cut-off and split, as a Markdown table."""
    frame = rows.select(["ds", "split", "snapshot", "cancelled"]).to_pandas()
    lines = ["| week | split | rows | cancelled | snapshots |", "|---|---|---|---|---|"]
    for (week, name), part in frame.groupby(["ds", "split"]):
        first, last = part["snapshot"].min(), part["snapshot"].max()
        lines.append(
            f"| {week} | {name} | {len(part)} | {int(part['cancelled'].sum())} | {first:%m-%d} to {last:%m-%d} |"
        )
    return "\n".join(lines)


def _query(store: OpenStore, sql: str) -> pd.DataFrame:
    table = store.lake.delta_scan(*GOLD)
    return _frame(store.duckdb.raw_sql(f"with gold as (select * from {table}) select * from ({sql})"))


def _frame(result: Any) -> pd.DataFrame:
    return result.df()
