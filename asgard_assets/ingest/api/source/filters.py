"""What may be done to a value on its way into a request: a small, safe set, written `{row.day|date:%Y%m%d}`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

from asgard_assets.ingest.api.values.cursors import moment_of

Filter = Callable[[Any], Any]


def parse_filter(text: str) -> Filter:
    """The filter that `name` or `name:argument` stands for. Raises ValueError, which names the known ones."""
    name, colon, argument = text.partition(":")
    name = name.strip()
    if name in _PLAIN:
        if colon:
            raise ValueError(f"the transform {name} takes no argument, but {text!r} gives one")
        return _PLAIN[name]
    if name in _WITH_ARGUMENT:
        if not argument:
            raise ValueError(f"the transform {name} needs an argument, such as {_EXAMPLES[name]}")
        return _WITH_ARGUMENT[name](argument)
    raise ValueError(f"unknown transform {name!r}; there are {', '.join(sorted(KNOWN))}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _moment(value: Any) -> datetime:
    """A point in time from ISO 8601 text, or as mails or OData write it; without a zone it is UTC."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, date):
        found = datetime(value.year, value.month, value.day)
    elif isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            told = moment_of(value)
            if told is None:
                raise
            found = told[0]
    else:
        raise ValueError(f"{value!r:.60} is no date")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _date(form: str) -> Filter:
    if "%z" in form or "%Z" in form:
        return lambda value: _moment(value).strftime(form)
    return lambda value: _moment(value).astimezone(UTC).strftime(form)  # the offset must not be dropped


def _parse_date(form: str) -> Filter:
    return lambda value: datetime.strptime(_text(value).strip(), form).isoformat()


def _default(text: str) -> Filter:
    def default(value: Any) -> Any:
        return text if value is None else value

    default.takes_null = True  # type: ignore[attr-defined]
    return default


def _join(separator: str) -> Filter:
    return lambda value: (
        separator.join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)
    )


def _integer(value: Any) -> int:
    number = float(value)
    if number != int(number):
        raise ValueError(f"{value!r:.60} is no whole number")
    return int(value) if isinstance(value, int | str) and not isinstance(value, bool) else int(number)


_PLAIN: dict[str, Filter] = {
    "lower": lambda value: _text(value).lower(),
    "upper": lambda value: _text(value).upper(),
    "trim": lambda value: _text(value).strip(),
    "json": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    "urlencode": lambda value: quote(_text(value), safe=""),
    "epoch": lambda value: int(_moment(value).timestamp()),
    "epoch_ms": lambda value: int(_moment(value).timestamp() * 1000),
    "int": _integer,
    "string": _text,
    "sha256": lambda value: hashlib.sha256(_text(value).encode()).hexdigest(),
}
_WITH_ARGUMENT: dict[str, Callable[[str], Filter]] = {
    "date": _date,
    "parse_date": _parse_date,
    "default": _default,
    "join": _join,
}
_EXAMPLES = {
    "date": "date:%Y-%m-%d",
    "parse_date": "parse_date:%d.%m.%Y",
    "default": "default:none",
    "join": "join:,",
}
OPTIONAL = "optional"
KNOWN = (*_PLAIN, *_WITH_ARGUMENT, OPTIONAL)
DESCRIPTIONS = {
    "lower": "lower case",
    "upper": "upper case",
    "trim": "without white space around it",
    "json": "as JSON text: lists and structs too",
    "urlencode": "percent-encoded (paths and query parameters are so by themselves)",
    "epoch": "a date or time as seconds since 1970",
    "epoch_ms": "a date or time as milliseconds since 1970",
    "int": "a whole number",
    "string": "text",
    "sha256": "hash of the text, in hex",
    "date": "a date or time in strftime form, in UTC unless that has %z: `date:%Y-%m-%d`",
    "parse_date": "read text of that form as a date: `parse_date:%d.%m.%Y`",
    "default": "this where the column is null: `default:none`",
    "join": "the values of a list as one text: `join:,`",
    OPTIONAL: "leave the query parameter or header out where the column is null",
}
