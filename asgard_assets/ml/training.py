"""Training sets: who was asked about at each snapshot, what was known of them then, and what happened.

Two clocks are respected. Event time: features hold as of the snapshot, labels end by the cut-off.
Knowledge time: a row whose `created_at` is after the snapshot (or, for labels, after the cut-off)
is as if it were not there, because whoever trained at that time could not have had it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ModelError
from asgard_assets.ml.contracts import schema, training_set
from asgard_assets.ml.moments import day_end, day_ending, day_ends, days_earlier, days_later, last_day
from asgard_assets.ml.spec import ModelDefinition, ModelSpec
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.views import ORIGIN, FeatureViewSpec
from asgard_assets.ml.window import require_published
from asgard_assets.windows import days_between

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FEWEST_TRAINING_SNAPSHOTS = 3
# Of ten entities, those held out for validation where snapshots are too few to keep labels apart in time.
HELD_OUT_TENTHS = 3


@dataclass(frozen=True)
class Split:
    """Which snapshots train and which validate. `by_entity`: their labels overlap, so entities must not."""

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    by_entity: bool

    def of(self, snapshot: datetime, *entity: int | str) -> str:
        held_out = _number(*entity) % 10 < HELD_OUT_TENTHS
        if snapshot in self.validation and (held_out or not self.by_entity):
            return "validation"
        if snapshot in self.train and not (held_out and self.by_entity):
            return "train"
        return "gap"


def _number(*entity: int | str) -> int:
    """A number that looks random and is the same for an entity in every process."""
    if len(entity) == 1 and isinstance(entity[0], int):
        return entity[0] * 2_654_435_761 % 2**32
    return zlib.crc32(repr(entity).encode())


def snapshots(spec: ModelSpec, end: datetime, first_day: str) -> list[datetime]:
    """Midnights of the bounded window before the cut-off `end` whose labels are complete by then."""
    zone = spec.time_zone
    first = max(days_earlier(end, spec.window_days, zone), day_end(first_day, zone))
    return day_ends(first, days_earlier(end, spec.horizon_days, zone), zone)


def split(spec: ModelSpec, moments: Sequence[datetime]) -> Split:
    """The last snapshots validate. Training ends a whole horizon earlier, so that no label is in both.

    Where that leaves fewer than three snapshots (a first cut-off may have seven in all), all earlier ones
    train, and validation is kept apart by entities instead.
    """
    count = spec.validation_snapshots
    validation = tuple(moments[-count:]) if len(moments) > count + 1 else tuple(moments[-1:])
    apart = tuple(
        moment for moment in moments if days_later(moment, spec.horizon_days, spec.time_zone) <= validation[0]
    )
    if len(apart) >= FEWEST_TRAINING_SNAPSHOTS:
        return Split(apart, validation, False)
    return Split(tuple(moment for moment in moments if moment < validation[0]), validation, True)


def build(
    definition: ModelDefinition, store: OpenStore, cut_offs: Mapping[str, datetime], first_day: str
) -> pa.Table:
    """Rows of the training set of each cut-off (by the name of its window), with one population query and one Feast join
    for all.

    Raises SourceError where a table lacks a day, ModelError where a cut-off has too little history.
    """
    import pandas as pd
    import pyarrow as pa

    spec, keys = definition.spec, definition.keys
    moments: dict[str, list[datetime]] = {}
    for partition, end in cut_offs.items():
        moments[partition] = snapshots(spec, end, first_day)
        if len(moments[partition]) < 2:
            raise ModelError(
                f"cut-off {end:%Y-%m-%d}: history begins on {first_day}, which leaves "
                f"{len(moments[partition])} snapshots with a full {spec.horizon_days} days of outcome; choose a later one"
            )
    earliest = min(m[0] for m in moments.values())
    days = days_between(
        day_ending(earliest, spec.time_zone), last_day(max(cut_offs.values()), spec.time_zone)
    )
    for table in {spec.source, spec.label_source}:
        require_published(store.lake, *table, days)
    asked = sorted({moment for m in moments.values() for moment in m})
    known = features_at(definition, store, population(definition, store, asked, history=True), history=True)
    frames = []
    for partition, end in cut_offs.items():
        labelled = labels(definition, store, moments[partition], end).merge(
            known, on=[*keys, "snapshot"], how="left", validate="one_to_one"
        )
        plan = split(spec, moments[partition])
        labelled["cut_off"] = pd.Timestamp(end)
        labelled["split"] = [
            plan.of(s.to_pydatetime(), *entity)
            for s, *entity in zip(
                labelled["snapshot"], *(labelled[key].tolist() for key in keys), strict=True
            )
        ]
        labelled["ds"] = partition
        frames.append(labelled)
    rows = pd.concat(frames, ignore_index=True).sort_values(["ds", "snapshot", *keys])
    columns = schema(training_set(definition))
    return pa.Table.from_pandas(rows[columns.names], schema=columns, preserve_index=False)


def population(
    definition: ModelDefinition, store: OpenStore, moments: Sequence[datetime], *, history: bool
) -> pd.DataFrame:
    """Who is asked about at each snapshot: the key columns, and `snapshot`. `history`: as known then."""
    known = " and created_at <= event_timestamp" if history else ""
    keys = ", ".join(definition.keys)
    return store.query(
        definition.spec.source,
        f"""select distinct {keys}, event_timestamp as snapshot from source
        where {ORIGIN} in ({_days(moments, definition.spec.time_zone)}) and ({definition.spec.population}){known} order by snapshot, {keys}""",
    )


def labels(
    definition: ModelDefinition, store: OpenStore, moments: Sequence[datetime], end: datetime
) -> pd.DataFrame:
    """The population with its label, the end of the label's horizon, and when the label was known."""
    spec, keys = definition.spec, definition.keys
    asked = population(definition, store, moments, history=True)
    same = " and ".join(f"later.{key} = asked.{key}" for key in keys)
    both = ", ".join(f"asked.{key} as {key}" for key in keys)
    ends = {
        snapshot: days_later(snapshot.to_pydatetime(), spec.horizon_days, spec.time_zone)
        for snapshot in asked["snapshot"].unique()
    }
    asked["label_until"] = asked["snapshot"].map(ends)  # pyright: ignore[reportArgumentType]  a dict is one, too
    store.duckdb.con.register("asked_about", asked)
    found = store.query(
        spec.label_source,
        f"""with asked as (select {", ".join(keys)}, snapshot, label_until from asked_about
        ), later as (
            select * from source
            where event_timestamp > timestamptz '{moments[0].isoformat()}'
            and event_timestamp <= timestamptz '{end.isoformat()}' and created_at <= timestamptz '{end.isoformat()}'
        ), outcomes as (
            select {both}, snapshot, {spec.label.sql} as outcome, max(created_at) as known_at
            from asked join later on {same} and later.event_timestamp > snapshot
                and later.event_timestamp <= label_until
            group by all
        )
        select {", ".join(keys)}, snapshot, coalesce(outcome, {spec.label.otherwise or "null"}) as {spec.label.column},
            label_until,
            greatest(coalesce(known_at, snapshot), snapshot) as label_known_at
        from asked left join outcomes using ({", ".join(keys)}, snapshot)
        order by snapshot, {", ".join(keys)}""",
    )
    store.duckdb.con.unregister("asked_about")
    return found.dropna(subset=[spec.label.column])


def features_at(
    definition: ModelDefinition, store: OpenStore, asked: pd.DataFrame, *, history: bool
) -> pd.DataFrame:
    """Feast's point-in-time join of the model's features, with the origin of each value.

    `history`: leave out what was not yet known at the moment asked about. Each view's `__event_timestamp`
    and `__created_at` are read from the Gold row that the value came from, not from what Feast filtered by.
    """
    entity = asked.rename(columns={"snapshot": "event_timestamp"})
    joined = store.feast.get_historical_features(
        entity,
        features=_references(definition, store),
        full_feature_names=True,
        filter_by_created_timestamp=history,
    ).to_df()
    joined = joined.rename(columns={"event_timestamp": "snapshot"})
    for name, column in definition.feature_columns.items():
        if column.type in ("bigint", "double"):
            # Feast turns whole numbers with misses into floats; the table's schema turns them back.
            joined[name] = joined[name].astype("Int64" if column.type == "bigint" else "float64")
    for view in definition.views.values():
        rows = origins(store, view)
        joined = joined.merge(
            rows, on=[*view.keys, f"{view.name}__{ORIGIN}"], how="left", validate="many_to_one"
        )
    columns = [f"{view}__{name}" for view in definition.views for name in ("event_timestamp", "created_at")]
    return joined.loc[:, [*definition.keys, "snapshot", *definition.feature_columns, *columns]]


def _references(definition: ModelDefinition, store: OpenStore) -> Any:
    if definition.spec.service:
        return store.feast.get_feature_service(definition.spec.service)
    return [f"{v.name}:{name}" for v in definition.views.values() for name in (*v.features, ORIGIN)]


def origins(store: OpenStore, view: FeatureViewSpec) -> pd.DataFrame:
    """Event and knowledge time of every row of a view's table, by key and partition."""
    return store.query(
        (view.stage, view.source),
        f"""select {", ".join(view.keys)}, {ORIGIN} as {view.name}__{ORIGIN},
        event_timestamp as {view.name}__event_timestamp, created_at as {view.name}__created_at from source""",
    )


def content_hash(rows: pa.Table, keys: Sequence[str]) -> str:
    """Hash of the rows, independent of order, file layout and table version."""
    ordered = rows.sort_by([(name, "ascending") for name in ("ds", "snapshot", *keys)])
    frame = ordered.select(sorted(ordered.column_names)).to_pandas()
    return hashlib.sha256(frame.to_csv(index=False, float_format="%.12g").encode()).hexdigest()


def summary(definition: ModelDefinition, rows: pa.Table) -> str:
    """Rows, outcomes and snapshots of each cut-off and split, as a Markdown table."""
    label = definition.spec.label.column
    certain = definition.spec.task == "classification"
    frame = rows.select(["ds", "split", "snapshot", label]).to_pandas()
    lines = [
        f"| {definition.spec.every if definition.spec.every != 'none' else 'day'} | split | rows | {label if certain else f'average {label}'} | snapshots |",
        "|---|---|---|---|---|",
    ]
    for (week, name), part in frame.groupby(["ds", "split"]):
        first, last = part["snapshot"].min(), part["snapshot"].max()
        figure = int(part[label].sum()) if certain else f"{part[label].mean():.2f}"
        lines.append(f"| {week} | {name} | {len(part)} | {figure} | {first:%m-%d} to {last:%m-%d} |")
    return "\n".join(lines)


def _days(moments: Sequence[datetime], zone: str) -> str:
    return ", ".join(f"'{day_ending(moment, zone)}'" for moment in moments)
