"""Days and times as text, by ISO 8601 alone: Python's parser takes `1791072000000` for a day of 1791."""

from __future__ import annotations

import re
from datetime import date, datetime

_DAY = r"\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d(?:-\d)?|\d{4}W\d\d\d?"
_IS_DAY = re.compile(_DAY, re.ASCII)
_IS_MOMENT = re.compile(rf"(?:{_DAY})(?:[Tt ]\d\d.*)?", re.ASCII)


def day_of_text(text: str) -> date:
    """The day that `2026-10-05`, `20261005` or `2026-W41-1` names. Raises ValueError."""
    text = text.strip()
    if not _IS_DAY.fullmatch(text):
        raise ValueError(f"{text!r} is no day of ISO 8601")
    return date.fromisoformat(text)


def moment_of_text(text: str) -> datetime:
    """The time, with its zone where it names one; a day is its first moment. Raises ValueError."""
    text = text.strip()
    if not _IS_MOMENT.fullmatch(text):
        raise ValueError(f"{text!r} is no time of ISO 8601")
    return datetime.fromisoformat(text)
