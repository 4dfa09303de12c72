"""Numbers and days as people write them where they live, `1.234,56` and `31.12.2026`, as the types read them.

Only columns that a person declared are looked at. Where `format` does not say how they are written, all values of a
column must agree, and one of them must leave no choice: `01/02/2026` alone is nobody's guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.source.formats import Csv, Fixed

if TYPE_CHECKING:
    import pyarrow as pa

_GROUPS = r"[. \x{a0}\x{202f}']"
_COMMA = rf"[+-]?(?:[0-9]{{1,3}}(?:{_GROUPS}[0-9]{{3}})+|[0-9]+)(?:,[0-9]+)?"
_COMMA_ALONE = r"[+-]?(?:[0-9]{1,3}(?:[. \x{a0}\x{202f}'][0-9]{3})+,[0-9]+|[0-9]+,[0-9]+|[0-9]+)"
_IS_COMMA = r",(?:[0-9]{1,2}|[0-9]{4,})$|[0-9][. \x{a0}\x{202f}'][0-9]{3}[^,]*,|^[+-]?0,"
_POINT = r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
_IS_POINT = r",[0-9]{3}[,.]"
_CLOCK = r"(?:[ T]+[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?"


@dataclass
class Local:
    """The values as the types read them. `left` has those that are not written as `format` says."""

    values: pa.ChunkedArray
    left: dict[int, str] = field(default_factory=dict[int, str])


def localised(values: pa.ChunkedArray, target: pa.DataType, how: Any) -> Local:
    import pyarrow as pa

    t = pa.types
    if not t.is_string(values.type) or values.null_count == len(values):
        return Local(values)
    told = how if isinstance(how, (Csv, Fixed)) else None
    if t.is_floating(target) or t.is_decimal(target) or t.is_integer(target):
        return _numbers(values, told.decimal if told else None)
    if t.is_date(target) or t.is_timestamp(target):
        return _times(values, told.dates if told else (), t.is_timestamp(target))
    return Local(values)


def _all(values: pa.ChunkedArray, pattern: str, how: str = "all") -> bool:
    import pyarrow.compute as pc

    return bool(pc.call_function(how, [_match(values, pattern)]).as_py())


def _match(values: pa.ChunkedArray, pattern: str) -> Any:
    import pyarrow.compute as pc

    return pc.call_function("match_substring_regex", [values], pc.MatchSubstringOptions(pattern))


def _whole(pattern: str) -> str:
    return rf"^\s*(?:{pattern})\s*$"


def _without(values: Any, pattern: str, by: str = "") -> Any:
    import pyarrow.compute as pc

    return pc.call_function(
        "replace_substring_regex", [values], pc.ReplaceSubstringOptions(pattern=pattern, replacement=by)
    )


def _numbers(values: pa.ChunkedArray, decimal: str | None) -> Local:
    if decimal == ",":
        return _as_told(values, _match(values, _whole(_COMMA)), _without(_without(values, _GROUPS), ",", "."))
    if decimal == ".":
        # A comma groups here; what is written as Python and Arrow read it needs no help.
        grouped = _match(values, r"[0-9],[0-9]{3}")
        return Local(_chosen(grouped, _without(values, ","), values, _match(values, _whole(_POINT))))
    if _all(values, _whole(r"[+-]?[0-9]*\.?[0-9]*")):
        return Local(values)
    if _all(values, _IS_COMMA, "any") and _all(values, _whole(_COMMA_ALONE)):
        return Local(_without(_without(values, _GROUPS), ",", "."))
    if _all(values, _IS_POINT, "any") and _all(values, _whole(_POINT)):
        return Local(_without(values, ","))
    return Local(values)


def _chosen(grouped: Any, converted: Any, values: Any, fits: Any) -> Any:
    import pyarrow.compute as pc

    return pc.call_function("if_else", [pc.call_function("and", [grouped, fits]), converted, values])


def _as_told(values: pa.ChunkedArray, fits: Any, converted: Any) -> Local:
    """The converted values; those that do not fit the setting are left, for another reading would be another number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = pc.call_function("if_else", [fits, converted, pa.scalar(None, pa.string())])
    if kept.null_count == values.null_count:
        return Local(kept)
    lost = pc.call_function(
        "and", [pc.call_function("is_null", [kept]), pc.call_function("is_valid", [values])]
    )
    places = pc.call_function("indices_nonzero", [lost])
    return Local(kept, {index: values[index].as_py() for index in places.to_pylist()})


def _times(values: pa.ChunkedArray, formats: tuple[str, ...], with_clock: bool) -> Local:
    if formats:
        return _by_formats(values, formats, with_clock)
    for pattern, order in (
        (r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})", "dmy"),
        (r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})", "ymd"),
        (r"([0-9]{1,2})[/-]([0-9]{1,2})[/-]([0-9]{4})", _order_of(values)),
    ):
        if order and _all(values, _whole(pattern + _CLOCK)):
            day, month, year = (rf"\{order.index(part) + 1}" for part in "dmy")
            iso = _without(values, rf"^\s*{pattern}[ T]*", rf"{year}-0{month}-0{day} ")
            iso = _without(_without(iso, r"-0([0-9]{2})", r"-\1"), r" +$", "")
            return Local(_without(iso, r"^(\S+) ([0-9]):", r"\1 0\2:"))
    return Local(values)


def _order_of(values: pa.ChunkedArray) -> str:
    """Whether the day or the month comes first; nothing where no value, or values against each other, say it."""
    day_first = _all(values, r"^\s*(?:1[3-9]|[23][0-9])[/-]", "any")
    month_first = _all(values, r"^\s*[0-9]{1,2}[/-](?:1[3-9]|[23][0-9])[/-]", "any")
    return "" if day_first == month_first else "dmy" if day_first else "mdy"


def _by_formats(values: pa.ChunkedArray, formats: tuple[str, ...], with_clock: bool) -> Local:
    """By the setting: each different text once."""
    import pyarrow as pa

    coded = values.combine_chunks().dictionary_encode()
    texts = [_iso(text, formats, with_clock) for text in coded.dictionary.to_pylist()]
    kept = pa.chunked_array([pa.array(texts, pa.string()).take(coded.indices)])
    missing = {i for i, text in enumerate(texts) if text is None}
    left: dict[int, str] = {}
    if missing:
        known = coded.dictionary.to_pylist()
        left = {i: known[code] for i, code in enumerate(coded.indices.to_pylist()) if code in missing}
    return Local(kept, left)


def _iso(text: str, formats: tuple[str, ...], with_clock: bool) -> str | None:
    for form in formats:
        try:
            found = datetime.strptime(text.strip(), form)  # noqa: DTZ007
        except ValueError:
            continue
        return (
            found.isoformat(" ") if with_clock or re.search("%[HMSfIp]", form) else found.date().isoformat()
        )
    return None
