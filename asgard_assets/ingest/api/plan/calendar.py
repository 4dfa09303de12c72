"""Which days a source can be asked for, and which it is asked for where nobody names any."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, days_after, days_between


def today() -> str:
    """The day that it is in the time zone of the partitions."""
    return Calendar.named(Settings().time_zone).key_at(datetime.now(UTC))


def usual_days(source: ApiSource, now: str) -> list[str]:
    """The current day, and as many before it as events may come late."""
    return days_between(days_after(now, -source.lookback_days), now)


def refuse_days(source: ApiSource, days: Sequence[str], now: str) -> None:
    """Raises ConfigError for days that the API cannot answer for."""
    if source.kind == "snapshot" and (other := [day for day in days if day != now]):
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
