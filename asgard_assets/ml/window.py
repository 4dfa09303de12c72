"""Validate days of a feature view as Feast reads them: one offline pull for a whole range of days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from asgard_assets import strangers
from asgard_assets.errors import SourceError
from asgard_assets.lake import Lake, duck
from asgard_assets.ml.store import OpenStore
from asgard_assets.ml.views import CREATED, EVENT_TIME, ORIGIN, FeatureViewSpec


@dataclass(frozen=True)
class Window:
    """Rows of each day, and for each check how many rows (or 1 for a figure) break it, by day."""

    rows: Mapping[str, int]
    broken: Mapping[str, Mapping[str, int]]
    files: Mapping[str, int]
    version: int
    sample: str

    def bad_days(self, blocking: Sequence[str]) -> dict[str, list[str]]:
        bad: dict[str, list[str]] = {}
        for check in blocking:
            for day, count in self.broken[check].items():
                if count:
                    bad.setdefault(day, []).append(check)
        return dict(sorted(bad.items()))


def validate(store: OpenStore, view: FeatureViewSpec, days: Sequence[str]) -> Window:
    """Pull `days` through Feast's offline store and judge every row by the view's contract.

    Raises SourceError where Gold has never published one of the days.
    """
    require_published(store.lake, view.stage, view.source, days)
    version = store.lake.version(view.stage, view.source)
    pulled = _pull(store, view, days)
    files = _files(store, view, days)
    rows, broken = judge(pulled, view, days)
    expected = _published_rows(store.lake, view, days)
    broken["reads_every_gold_row"] = {day: abs(expected[day] - rows[day]) for day in days}
    broken["copies_no_byte"] = {day: files[day][1] for day in days}
    return Window(rows, broken, {day: files[day][0] for day in days}, version, _sample(pulled, view))


def judge(
    pulled: Any, view: FeatureViewSpec, days: Sequence[str]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Rows and broken checks by day of an Arrow table. A row counts to the day that its `ds` names."""
    import pyarrow as pa

    checks = view.contract.all_checks
    rows = dict.fromkeys(days, 0)
    broken = {check.name: dict.fromkeys(days, 0) for check in checks}
    figures = [
        f"(not coalesce(({c.sql}), false))::int"
        if c.aggregate
        else f"count(*) filter (where not coalesce(({c.sql}), false))"
        for c in checks
    ]
    calendar = view.calendar
    ends = pa.table({"window": list(days), "window_end": [calendar.window(day).end for day in days]})
    with duck.connect() as connection:
        connection.register("pulled", pulled)
        connection.register("ends", ends)
        found = connection.execute(
            f"""with w as (select pulled.*, window_end from pulled left join ends on {ORIGIN} = "window")
            select {ORIGIN}, count(*), {", ".join(figures)} from w group by 1"""
        ).fetchall()
    for day, count, *values in found:
        if day not in rows:
            continue
        rows[day] = count
        for check, value in zip(checks, values, strict=True):
            broken[check.name][day] = value
    return rows, broken


def require_published(lake: Lake, stage: str, name: str, days: Sequence[str]) -> None:
    """Raise SourceError naming the days that were never published."""
    missing = [day for day, epoch in lake.epochs(stage, name, days).items() if not epoch]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise SourceError(
            f"{stage}/{name} has no {shown}; materialize [{stage}, {name}] for these days first",
            source=f"{stage}/{name}",
            days=missing,
        )


def _pull(store: OpenStore, view: FeatureViewSpec, days: Sequence[str]) -> Any:
    source: Any = store.feast.get_feature_view(view.name).batch_source
    windows = [view.calendar.window(day) for day in days]
    config = store.feast.config
    offline = store.feast._get_provider().offline_store  # type: ignore[attr-defined]
    job = offline.pull_all_from_table_or_query(
        config=config,
        data_source=source,
        join_key_columns=list(view.keys),
        feature_name_columns=[*view.features, ORIGIN],
        timestamp_field=EVENT_TIME,
        created_timestamp_column=CREATED,
        # From just after the first one's beginning to the last one's end, both ends inclusive in Feast.
        start_date=min(window.start for window in windows) + timedelta(microseconds=1),
        end_date=max(window.end for window in windows),
    )
    return job.to_arrow()


def _files(store: OpenStore, view: FeatureViewSpec, days: Sequence[str]) -> dict[str, tuple[int, int]]:
    """For each day: files that Feast's DuckDB opens, and how many differ from the Delta log's."""
    table = store.lake.delta_scan(view.stage, view.source, "filename = true")
    listed = ", ".join(f"'{day}'" for day in days)
    opened = store.duckdb.raw_sql(
        f"select {ORIGIN}, filename from {table} where {ORIGIN} in ({listed}) group by all"
    ).fetchall()
    read: dict[str, set[str]] = {day: set() for day in days}
    for day, name in opened:
        read[day].add(_plain(name))
    log = {_plain(uri) for uri in store.lake.files(view.stage, view.source, days)}
    result = {}
    for day in days:
        of_log = {uri for uri in log if f"/{ORIGIN}={day}/" in uri}
        result[day] = (len(read[day]), len(read[day] ^ of_log))
    return result


def _plain(uri: str) -> str:
    from urllib.parse import unquote

    return unquote(uri).removeprefix("file://")


def _published_rows(lake: Lake, view: FeatureViewSpec, days: Sequence[str]) -> dict[str, int]:
    import pyarrow as pa

    counts = dict.fromkeys(days, 0)
    table = lake.table(view.stage, view.source)
    if table is not None:
        for action in pa.table(table.get_add_actions(flatten=True)).to_pylist():
            day = action[f"partition.{ORIGIN}"]
            if day in counts:
                counts[day] += action["num_records"]
    return counts


def _sample(pulled: Any, view: FeatureViewSpec) -> str:
    """A few rows as a Markdown table."""
    columns = [*view.keys, *list(view.features)[:7], EVENT_TIME]
    rows = pulled.select(columns).slice(0, 5).to_pylist()
    return strangers.table(columns, ([row[c] for c in columns] for row in rows))
