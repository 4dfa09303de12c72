"""Whether the answer to a single request is only the first page of a list. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from asgard_assets.ingest.api.http.decoding import Undecodable, read_json
from asgard_assets.ingest.api.lists.detection import WELL_KNOWN, find_items
from asgard_assets.ingest.api.lists.pagination import MalformedPage, next_link
from asgard_assets.ingest.api.lists.signs import signs
from asgard_assets.ingest.api.source.paths import at

_SMALL = 65_536
_LISTS = frozenset(WELL_KNOWN)
_AROUND = frozenset({path.partition(".")[0] for path in WELL_KNOWN if "." in path} | {"_embedded"})


@cache
def _loads() -> Callable[[bytes], Any]:
    import orjson

    return orjson.loads


def _is_one_record(body: bytes) -> bool:
    """Whether the body is an object in which no list stands that `find_items` would take for rows.

    Asked for each row. To parse a body that is not large costs a fifth of what it costs to search it for the words below.
    """
    if body[:1] != b"{" or len(body) > _SMALL:
        return False
    try:
        found = _loads()(body)
    except ValueError:
        return False
    for name, value in found.items():
        kind = type(value)
        if kind is dict:
            if name in _AROUND:
                return False
        elif kind is list and (name in _LISTS or (value and type(value[0]) is dict)):
            return False
    return True


def _worth_a_look(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether anything there could mean more: plain searches cost a tenth of an expression's."""
    low = body.lower()
    if (
        b"next" in low or b"more" in low or b"last" in low or b"cursor" in low or b"token" in low
        or b"after" in low or b"continu" in low or b"truncated" in low or b"bookmark" in low or b'"rel' in low
    ):  # fmt: skip
        return True
    names = " ".join(headers)
    return "next" in names or "cursor" in names


def next_page_of(status: int, headers: Mapping[str, str], body: bytes, sent: Mapping[str, Any]) -> str:
    """What in the answer says that there is a next page; empty where nothing does.

    In a body without a list, or whose list is one of plain values, such keys mean something else.
    """
    if "link" in headers and next_link(headers["link"]):
        return 'the Link header has rel="next"'
    if b"[" not in body or _is_one_record(body) or not _worth_a_look(body, headers):
        return ""  # no list, whatever the charset
    try:
        parsed = read_json(body)
        path = find_items(parsed)
    except (Undecodable, MalformedPage):
        return ""
    items = at(parsed, path)
    if not items or not (path in WELL_KNOWN or all(isinstance(item, Mapping) for item in items)):
        return ""
    found = signs(status, headers, parsed, path, sent)
    flags = [sign for sign in found if sign.kind == "flag"]
    if flags:
        return next((sign.said for sign in flags if sign.value), "")
    return next((sign.said for sign in found if sign.kind == "next"), "")
