"""Which days a source can be asked for, and which it is asked for where nobody names any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, Window, slice_of, value_of, window_of, zone_named


def calendar_of(source: ApiSource) -> Calendar:
    """The windows of the source's table, without bounds."""
    return Calendar(zone_named(source.time_zone or Settings().time_zone), source.every)


def today(every: Every = "day", time_zone: str = "") -> str:
    """The window that it is now, in the time zone of the partitions."""
    return Settings().calendar(every, time_zone).key_at(datetime.now(UTC))


def usual_days(source: ApiSource, now: str) -> list[str]:
    """The current window, and those before it in which events may come late."""
    calendar = calendar_of(source)
    window = calendar.window(now)
    first = calendar.days_before(window.start, source.lookback_days)
    return [each.key for each in calendar.overlapping(first, window.end)]


def pulled_windows(
    source: ApiSource, calendar: Calendar, previous: datetime, now: datetime, done: datetime | None = None
) -> list[Window]:
    """What a schedule asks for at `now`, whose tick before was at `previous`; up to `done` all is there.

    A snapshot is asked for the window that is open. Others are asked for each window that has ended since, and once
    with it for those in which events may still come (`lookback_days`). A schedule that is due more often than windows
    end asks for the open window too.
    """
    since = min(previous, done or previous)
    current = calendar.window_at(now)
    if source.kind == "snapshot":
        return [current]
    ended = [window for window in calendar.overlapping(since, now) if window.end <= now]
    often = [current] if previous > current.start or not ended else []
    if ended and source.lookback_days:
        earlier = calendar.days_before(ended[0].start, source.lookback_days)
        ended = [*calendar.overlapping(earlier, ended[0].start), *ended]
    return [*ended, *often]


@dataclass(frozen=True)
class Outstanding:
    """What a source is to be asked for, when nobody says for what."""

    due: frozenset[str]
    only_due: bool

    def wants(self, key: str, done: bool) -> bool:
        return key in self.due or not (done or self.only_due)


def outstanding_windows(source: ApiSource, calendar: Calendar, now: datetime) -> Outstanding:
    """The newest window that ended with those of `lookback_days`; of a snapshot only the open one."""
    last = calendar.window(calendar.after(calendar.key_at(now), -1))
    keys = frozenset(window.key for window in pulled_windows(source, calendar, last.start, now))
    return Outstanding(keys, source.kind == "snapshot")


def with_values(source: ApiSource, windows: Sequence[str]) -> list[str]:
    """The partitions of these windows: of a source with a second column one for each value. Raises ConfigError where nobody
    knows the values here."""
    if not source.second:
        return list(windows)
    values = source.partitions[source.second]
    if values == "dynamic":
        raise ConfigError(
            f"{source.name}: values of {source.second} are added in Dagster, which is not asked here; name one: "
            f"{windows[0]}|VALUE",
            field="partitions",
        )
    return [slice_of(window, value) for value in values for window in windows]


def _refuse_values(source: ApiSource, days: Sequence[str]) -> None:
    known = source.partitions.get(source.second, ())
    for day in days:
        value = value_of(day)
        if bool(value) != bool(source.second) or (value and known != "dynamic" and value not in known):
            shown = f"one of {', '.join(known)}" if source.second and known != "dynamic" else "a value"
            wanted = f"a day and {shown}, such as 2026-10-05|eu" if source.second else "a day alone"
            raise ConfigError(
                f"{source.name}: there is no partition {day!r}; name {wanted}", field="partitions"
            )


def refuse_days(source: ApiSource, days: Sequence[str], now: str) -> None:
    """Raises ConfigError for windows that the table has not, or that the API cannot answer for."""
    calendar = calendar_of(source)
    _refuse_values(source, days)
    for day in days:
        calendar.window(window_of(day))
    if source.kind == "snapshot" and (other := [day for day in days if window_of(day) != now]):
        raise ConfigError(
            f"{source.name}: a snapshot has no history: the API tells how things are now, so that only {now} "
            f"can be asked for, not {', '.join(other[:5])}{' …' if len(other) > 5 else ''}",
            field="kind",
        )
    if source.incremental and len(days) > 1:
        raise ConfigError(
            f"{source.name}: a source that goes on from a cursor takes one day at a time, not {len(days)}: "
            "what changed since the cursor cannot be told apart by days",
            field="form.incremental",
        )
