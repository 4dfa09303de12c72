"""Incremental cursors: compared by their type, sent with an overlap, not moved to the future. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

_MOMENT = re.compile(
    r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d+))?)?\s*(Z|z|[+-]\d{2}:?\d{2}|UTC)?$"
)

_OF_OUR_TIMES = (946_684_800, 4_102_444_800)  # 2000 to 2100, in seconds since 1970


def moment_of(value: Any) -> tuple[datetime, Decimal] | None:
    """The instant to the second and its fraction, of any precision; without an offset it is UTC."""
    found = _MOMENT.match(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    try:
        text = f"{day}T{clock or '00:00:00'}{'+00:00' if offset in (None, 'Z', 'z', 'UTC') else offset}"
        return datetime.fromisoformat(text).astimezone(UTC), Decimal(f"0.{fraction or 0}")
    except (ValueError, OverflowError):
        return None


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


def later(one: Any, other: Any) -> Any:
    """The greater of two cursors: numbers by size (as text too), moments as instants, anything else as text."""
    if one is None or other is None:
        return other if one is None else one
    for sort in (_number, moment_of):
        first, second = sort(one), sort(other)
        if first is not None and second is not None:
            return other if second > first else one  # type: ignore[operator]
    return max(one, other, key=str)


def ahead(value: Any, now: datetime, tolerance_seconds: float) -> bool:
    """Whether the value is a moment later than now and the tolerance."""
    found = moment_of(value)
    if found is None:
        return False
    spare = tolerance_seconds + (86_400 if len(value.strip()) == 10 else 0)  # a day begins early in the east
    return found[0] > now + timedelta(seconds=spare)


def is_time(value: Any) -> bool:
    """Whether a cursor is a moment within a day: a date with a clock time, or a count since 1970."""
    return _unit(value) is not None or (
        moment_of(value) is not None and len(value.strip()) > len("2026-10-05")
    )


def _unit(value: Any) -> int | None:
    """Parts of a second that a number since 1970 counts; None where it is no such number of our times."""
    number = None if isinstance(value, bool) or not isinstance(value, int | float | str) else _number(value)
    units = (1, 10**3, 10**6, 10**9)
    return next(
        (u for u in units if number is not None and _OF_OUR_TIMES[0] <= number / u < _OF_OUR_TIMES[1]), None
    )


def earlier(value: Any, seconds: float) -> Any:
    """The cursor that is sent: so many seconds before the one that is kept, written as that is."""
    if not seconds or value in (None, ""):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        less = seconds * (_unit(value) or 1)
        return value - (int(less) if isinstance(value, int) else less)
    if isinstance(value, str) and value.strip().isdigit() and (unit := _unit(value)):
        return str(int(value) - int(seconds * unit))
    kept = value.strip() if isinstance(value, str) else ""
    if moment_of(kept) is None or len(kept) == 10:
        return value
    try:
        moved = datetime.fromisoformat(kept) - timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return value
    text = moved.isoformat(sep="T" if "T" in kept else " ")
    return text.replace("+00:00", "Z") if kept.endswith(("Z", "z")) else text
