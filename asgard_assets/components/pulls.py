"""Schedules of sources: when a source is asked, and for which of its windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, Self

import dagster as dg
from pydantic import Field, model_validator

from asgard_assets.components.partitions import second_of, time_of
from asgard_assets.ingest.files.plan.control import SOURCE_TAG, read_control
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import Model
from asgard_assets.settings import Settings
from asgard_assets.windows import Window, slice_of, value_of

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_PART = re.compile(r"([1-9]\d*) (minute|hour)s?")
_EVERY = r"^(hour|day|week|month|[1-9]\d* minutes?|[1-9]\d* hours?)$"
_AT = r"^([01]?\d|2[0-3])?:[0-5]\d$"
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class Pull(Model):
    """When a source is asked, in the zone of its windows."""

    every: str | None = Field(
        default=None,
        json_schema_extra={"pattern": _EVERY},
        description="hour, day, week, month, or a part of them such as `15 minutes` or `6 hours`.",
    )
    at: str | None = Field(
        default=None,
        json_schema_extra={"pattern": _AT},
        description='Time of day, such as "02:00" (default for day, week and month); with `every: hour` the minute: ":05".',
    )
    on: Literal["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"] | int | None = (
        Field(
            default=None, description="With `week` a weekday (default monday); with `month` a day, 1 to 28."
        )
    )
    cron: str | None = Field(default=None, description="A cron expression, instead of `every`.")

    @model_validator(mode="after")
    def _means_one_schedule(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise ValueError('give one of `every`, such as {every: day, at: "02:00"}, and `cron`')
        if self.every and not re.fullmatch(_EVERY, self.every):
            raise ValueError(
                f"every: {self.every!r} is no pace; write hour, day, week or month, or a part such as `15 minutes` or `6 hours`"
            )
        if self.at and not re.fullmatch(_AT, self.at):
            raise ValueError(f'at: {self.at!r} is no time of day; write "02:00", or ":05" with `every: hour`')
        if self.cron and (self.at or self.on is not None):
            raise ValueError("`at` and `on` go with `every`; the cron expression says it all")
        on = {"week": str, "month": int}.get(self.every or "")
        if self.on is not None and (on is None or not isinstance(self.on, on)):
            raise ValueError("`on` is a weekday with `every: week`, a day from 1 to 28 with `every: month`")
        if isinstance(self.on, int) and not 1 <= self.on <= 28:
            raise ValueError("`on` is a day from 1 to 28: not every month has more")
        if self.at and (self.every not in ("hour", "day", "week", "month")):
            raise ValueError(f"`at` goes with hour, day, week and month, not with `every: {self.every}`")
        if self.at and self.at.startswith(":") != (self.every == "hour"):
            raise ValueError('write `at: "02:00"` for a time of day, `at: ":05"` with `every: hour`')
        if not _is_cron(self.schedule):
            raise ValueError(f"{self.cron!r} is no cron expression of five fields, such as '0 2 * * 1-5'")
        return self

    @property
    def schedule(self) -> str:
        """The cron expression. Raises ValueError for a part that does not divide the hour or the day."""
        if self.cron:
            return self.cron
        if part := _PART.fullmatch(self.every or ""):
            count, unit = int(part[1]), part[2]
            whole = 60 if unit == "minute" else 24
            if whole % count:
                raise ValueError(f"{self.every} do not divide {'an hour' if unit == 'minute' else 'a day'}")
            return (
                (f"*/{count} * * * *" if count < 60 else "0 * * * *")
                if unit == "minute"
                else f"0 */{count} * * *"
            )
        hour, minute = (self.at or ("2:00" if self.every != "hour" else ":00")).split(":")
        day = f"{int(minute)} {int(hour or 0)}"
        if self.every == "hour":
            return f"{int(minute)} * * * *"
        if self.every == "week":
            return f"{day} * * {_DAYS.index(str(self.on or 'monday'))}"
        return f"{day} {self.on or 1} * *" if self.every == "month" else f"{day} * * *"

    def last(self, now: datetime, time_zone: str) -> datetime:
        """When the schedule was due before the tick `now`."""
        return self._before(now, time_zone).start

    def newest(self, now: datetime, time_zone: str) -> datetime:
        """When the schedule was due last, at any moment `now`."""
        return self._before(now, time_zone).end

    def count(self, start: datetime, end: datetime, time_zone: str) -> int:
        """How often the schedule is due between two moments."""
        spans = self._ticks(start, time_zone).get_partition_keys(current_time=end)
        return len(spans) + 1  # those between two ticks

    def _before(self, now: datetime, time_zone: str) -> dg.TimeWindow:
        """The newest span between two ticks that has ended."""
        before = self._ticks(datetime(2000, 1, 1), time_zone).get_prev_partition_window(
            now, respect_bounds=False
        )
        assert before is not None
        return before

    def _ticks(self, start: datetime, time_zone: str) -> dg.TimeWindowPartitionsDefinition:
        return dg.TimeWindowPartitionsDefinition(
            start=start.replace(tzinfo=None),
            fmt="%Y-%m-%dT%H:%M%z",
            timezone=time_zone,
            cron_schedule=self.schedule,
        )


def _is_cron(text: str) -> bool:
    try:
        dg.TimeWindowPartitionsDefinition(start=datetime(2000, 1, 1), fmt="%Y", cron_schedule=text)
    except (dg.DagsterInvalidDefinitionError, ValueError):
        return False
    return len(text.split()) == 5


def _instance(context: dg.ScheduleEvaluationContext) -> dg.DagsterInstance | None:
    try:
        return context.instance
    except dg.DagsterInvariantViolationError:  # a tick that somebody tries by hand, without a history
        return None


Due = Callable[[dg.DagsterInstance | None, datetime, datetime], Sequence[Window]]
"""Which windows are asked for: of the tick before this one and this one (what is due since then)."""


def _values(calendar: dg.PartitionsDefinition, instance: dg.DagsterInstance | None) -> Sequence[str]:
    """The values of the second column; '' where there is none."""
    second = second_of(calendar)
    if second is None:
        return [""]
    column, values = second
    return values or (instance.get_dynamic_partitions(column) if instance else ())


def _asked(
    tick: str, keys: Sequence[str], one_by_one: bool, own: Mapping[str, str]
) -> Iterator[dg.RunRequest]:
    """One run for the keys, or one for each."""
    if one_by_one or len(keys) == 1:
        for key in keys:
            yield dg.RunRequest(run_key=f"{tick} {key}", partition_key=key, tags=own)
        return
    value = value_of(keys[0])
    tags: dict[str, str] = dict(zip(_RANGE, (keys[0], keys[-1]), strict=True))
    yield dg.RunRequest(run_key=f"{tick} {value}".rstrip(), tags={**own, **tags})


def pull_schedule(
    name: str,
    pull: Pull,
    keys: Sequence[dg.AssetKey],
    due: Due | None = None,
    calendar: dg.PartitionsDefinition | None = None,
    one_by_one: bool = False,
    source: str = "",
) -> dg.ScheduleDefinition:
    """The schedule `pull_NAME`. Each tick asks for the windows that are `due`, as one range or `one_by_one`; none while
    `source` (default: `name`) is paused.

    Windows outside the calendar are left out, and named if none is left. Without `due` the assets have no partitions. Of tables
    that a second column cuts each value is asked for by itself.
    """
    time = time_of(calendar)
    assert time is None or isinstance(time, dg.TimeWindowPartitionsDefinition)
    zone = time.timezone if time else Settings().time_zone
    shown, own = ", ".join(key.to_user_string() for key in keys), {SOURCE_TAG: source or name}

    def ask(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = context.scheduled_execution_time
        tick = now.isoformat(timespec="minutes")
        if pause := read_control(Lake.from_settings(), source or name).pause:
            yield dg.SkipReason(str(pause))
            return
        if due is None or calendar is None or time is None:
            yield dg.RunRequest(run_key=tick, tags=own)
            return
        windows = due(_instance(context), pull.last(now, zone), now)
        with dg.partition_loading_context(now):
            known = [window.key for window in windows if time.has_partition_key(window.key)]
        if not known:
            yield dg.SkipReason(f"outside the calendar: {', '.join(w.key for w in windows)}")
        for value in _values(calendar, _instance(context)) if known else ():
            yield from _asked(tick, [slice_of(key, value) for key in known], one_by_one, own)

    return dg.ScheduleDefinition(
        name=f"pull_{name}",
        cron_schedule=pull.schedule,
        execution_timezone=zone,
        target=dg.AssetSelection.assets(*keys),
        execution_fn=ask,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Asks for {shown}.",
    )
