"""Cron lines: of five fields here, of Quartz's six in Airbyte."""

from __future__ import annotations

import re
from datetime import datetime

from asgard_assets.errors import ConfigError

_LINE = re.compile(r"[0-9A-Za-z*/,\-]+( [0-9A-Za-z*/,\-]+){4}")


def airbyte_cron(cron: str) -> str:
    """A line of five fields as Airbyte takes it. Raises ConfigError where it is none."""
    line = " ".join(cron.split())
    if len(line) > 100 or not _LINE.fullmatch(line) or not _tick(line, datetime(2026, 1, 1)):
        raise ConfigError(f"{cron[:100]!r} is no cron line of five fields; every hour is: 0 * * * *")
    minute, hour, day, month, weekday = line.split()
    day, weekday = (day, "?") if weekday == "*" else ("?" if day == "*" else day, weekday)
    return f"0 {minute} {hour} {day} {month} {weekday}"


def next_tick(quartz: str, now: datetime) -> str | None:
    """When Airbyte's line is due next, ISO 8601 in UTC; None where it is not planned so."""
    line = " ".join(quartz.replace("?", "*").split()[1:6])
    found = _tick(line, now) if _LINE.fullmatch(line) else None
    return found.isoformat() if found else None


def _tick(line: str, now: datetime) -> datetime | None:
    import dagster as dg

    try:
        windows = dg.TimeWindowPartitionsDefinition(
            start=datetime(2020, 1, 1), fmt="%Y-%m-%dT%H:%M", cron_schedule=line
        )
        found = windows.get_next_partition_window(now, respect_bounds=False)
    except Exception:  # noqa: BLE001  (Dagster and its cron parser raise many kinds for what is no line)
        return None
    return found.start if found else None
