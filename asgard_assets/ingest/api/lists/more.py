"""Whether the answer to a single request is only the first page of a list. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asgard_assets.ingest.api.http.decoding import Undecodable, read_json
from asgard_assets.ingest.api.lists.detection import WELL_KNOWN, find_items
from asgard_assets.ingest.api.lists.pagination import MalformedPage, next_link
from asgard_assets.ingest.api.lists.signs import signs
from asgard_assets.ingest.api.source.paths import at

_WORTH_A_LOOK = re.compile(
    rb'next|more|last|cursor|token|after|continu|truncated|bookmark|"rel', re.IGNORECASE
)


def next_page_of(status: int, headers: Mapping[str, str], body: bytes, sent: Mapping[str, Any]) -> str:
    """What in the answer says that there is a next page; empty where nothing does.

    In a body without a list, or whose list is one of plain values, such keys mean something else.
    """
    if next_link(headers.get("link", "")):
        return 'the Link header has rel="next"'
    if not _WORTH_A_LOOK.search(body) and not any("next" in name or "cursor" in name for name in headers):
        return ""
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
