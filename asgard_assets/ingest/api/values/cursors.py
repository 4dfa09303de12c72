"""Incremental cursors: compared by their type, sent with an overlap, not moved to the future. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import format_datetime, parsedate_to_datetime
from math import ceil
from typing import Any

_MOMENT = re.compile(
    r"^(\d{4}(?P<bar>[-/]?)\d{2}(?P=bar)\d{2})"
    r"(?:([T ])(\d{2}(?P<colon>:?)\d{2}(?:(?P=colon)\d{2})?)(?:([.,]\d+))?)?"
    r"(\s*)(Z|z|[+-]\d{2}(?::?\d{2})?|UTC|GMT)?(\[[\w/+-]+\])?$"
)
_OF_MAILS = re.compile(
    r"^(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}"
)  # RFC 5322, as in HTTP and feeds
_OF_ODATA = re.compile(r"^/Date\((-?\d+)([+-]\d{4})?\)/$")
_OF_TIME = frozenset(
    "at time timestamp ts date updated modified created changed edited epoch mtime ctime stamp moment when".split()
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_OF_OUR_TIMES = (946_684_800, 4_102_444_800)  # 2000 to 2100, in seconds since 1970


def moment_of(value: Any) -> tuple[datetime, Decimal] | None:
    """The instant to the second and its fraction, of any precision; without an offset it is UTC.

    Texts are read as ISO 8601 writes them, with - or / or neither in the date; as mails and HTTP do; as OData 2 does.
    """
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        if _OF_MAILS.match(text):
            moment = parsedate_to_datetime(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), Decimal(0)
        if told := _OF_ODATA.match(text):
            seconds, rest = divmod(int(told[1]), 1000)
            return datetime.fromtimestamp(seconds, UTC), Decimal(rest) / 1000
        found = _MOMENT.match(text)
        if found is None or (not found["bar"] and found[4] is None):
            return None  # digits alone are a number
        offset = found[8] or "Z"
        offset = "+00:00" if offset in ("Z", "z", "UTC", "GMT") else offset
        moment = datetime.fromisoformat(f"{_plain_text(found)}{offset}").astimezone(UTC)
        return moment, Decimal(f"0.{(found[6] or '.0')[1:]}")
    except (ValueError, OverflowError, OSError):
        return None


def _plain_text(found: re.Match[str]) -> str:
    """Day and clock as ISO 8601 writes them."""
    day, clock = (re.sub(r"\D", "", part or "") for part in (found[1], found[4]))
    clock = clock.ljust(6, "0")
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"


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


def ahead(value: Any, now: datetime, tolerance_seconds: float, unit: int | None = None) -> bool:
    """Whether the value is a moment later than now and the tolerance. `unit`: what numbers count, as `counted_in` says."""
    found = moment_of(value)
    if found is None:
        number = _number(value) if unit and isinstance(value, int | float | str) else None
        return number is not None and number / (unit or 1) > now.timestamp() + tolerance_seconds
    spare = tolerance_seconds + (86_400 if len(value.strip()) == 10 else 0)  # a day begins early in the east
    return found[0] > now + timedelta(seconds=spare)


def counted_in(values: Iterable[Any], now: datetime, name: str) -> int | None:
    """Parts of a second since 1970 that these numbers count; None where they are other numbers, or none.

    They count time if one of them is a time before now, or if their field's name says so.
    """
    numbers = [value for value in values if value is not None]
    if not numbers or (isinstance(numbers[0], str) and not numbers[0].strip().isdigit()):
        return None
    named = not _OF_TIME.isdisjoint(word.lower() for word in _WORD.findall(name))
    units = [(unit, value) for value in numbers if (unit := _unit(value))]
    past = next((unit for unit, value in units if (_number(value) or 0) / unit <= now.timestamp()), None)
    if past is not None and (named or past < 10**9):  # ids of 64 bits look like nanoseconds
        return past
    return (units[0][0] if units else None) if named else None


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
    return _moved(value, timedelta(seconds=ceil(seconds))) if isinstance(value, str) else value


def _moved(value: str, back: timedelta) -> str:
    """The moment so much earlier, written as it was; a date without a clock stays."""
    text = value.strip()
    try:
        if _OF_MAILS.match(text):
            return _mailed(text, parsedate_to_datetime(text) - back)
        if told := _OF_ODATA.match(text):
            return f"/Date({int(told[1]) - int(back.total_seconds() * 1000)}{told[2] or ''})/"
        found = _MOMENT.match(text)
        if found is None or found[4] is None or moment_of(text) is None:
            return value
        moved = datetime.fromisoformat(_plain_text(found)) - back
    except (ValueError, OverflowError):
        return value
    bar, colon = found["bar"], found["colon"]
    clock = f"%H{colon}%M" + (f"{colon}%S" if len(re.sub(r"\D", "", found[4])) == 6 else "")
    day = f"{moved.year:04d}{bar}{moved.month:02d}{bar}{moved.day:02d}"
    rest = "".join(part or "" for part in (found[6], found[7], found[8], found[9]))
    return f"{day}{found[3]}{moved.strftime(clock)}{rest}"


def _mailed(text: str, moved: datetime) -> str:
    name, _, _ = text.rpartition(" ")
    zone = text[len(name) :] if not text[-1].isdigit() or text[-5:-4] in "+-" else ""
    named = format_datetime(moved).rpartition(" ")[0]
    return f"{named if ',' in text else named.partition(', ')[2]}{zone}"
