"""Walking a list endpoint: given a page's answer, what is the next request? Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from asgard_assets.errors import SourceError, Terminal
from asgard_assets.ingest.api.source.addresses import encoded
from asgard_assets.ingest.api.source.forms import (
    AutoPagination,
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)
from asgard_assets.ingest.api.source.paths import at

__all__ = ["MalformedPage", "Page", "at", "first", "following", "next_link"]

_LINK = re.compile(r"<([^>]*)>((?:[^,\"]|\"(?:[^\"\\]|\\.)*\")*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


class MalformedPage(Terminal, SourceError):
    """A page is not what its source's configuration says."""


@dataclass(frozen=True)
class Page:
    """One page to ask for: parameters over the template's own, or a whole URL. `number` starts at 0."""

    number: int = 0
    query: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)  # dotted paths over the template's JSON body
    values: Mapping[str, Any] = field(default_factory=dict)  # what `{page.…}` stands for


def first(pagination: Pagination) -> Page:
    """The page that a walk starts with."""
    if isinstance(pagination, PagePagination):
        return _asked(pagination, 0, pagination.start)
    if isinstance(pagination, OffsetPagination):
        return _asked(pagination, 0, 0)
    return Page()


def following(
    pagination: Pagination,
    page: Page,
    url: str,
    headers: Mapping[str, str],
    body: Any,
    items: int,
    last: Any = None,
    same_origin: str = "strict",
) -> Page | None:
    """The page after `page`, or None at the end. `url` is the one that `page` was read from, `last` its
    last item.

    Raises MalformedPage where the next address lies on another origin: credentials would go there.
    """
    number = page.number + 1
    match pagination:
        case NoPagination() | AutoPagination():
            return None
        case PagePagination():
            pages = None if pagination.pages is None else at(body, pagination.pages)
            counted = isinstance(pages, int)
            # A walk that starts in the middle has the pages before it behind it.
            before = max(0, pagination.start - 1)
            if items == 0 or (counted and before + number >= pages):
                return None
            if not counted and items < pagination.size:
                return None
            return _asked(pagination, number, pagination.start + number)
        case OffsetPagination():
            offset = int({**page.query, **page.body}.get(pagination.param, 0)) + items
            total = None if pagination.total is None else at(body, pagination.total)
            if items == 0 or (offset >= total if isinstance(total, int) else items < pagination.size):
                return None
            return _asked(pagination, number, offset)
        case CursorPagination():
            if pagination.more is not None and not at(body, pagination.more):
                return None
            cursor = (
                at(body, pagination.cursor)
                if pagination.last_item is None
                else at(last, pagination.last_item)
            )
            return None if cursor in (None, "") else _asked(pagination, number, cursor)
        case NextUrlPagination():
            return _linked(number, at(body, pagination.url), url, same_origin)
        case LinkPagination():
            return _linked(number, next_link(headers.get("link", "")), url, same_origin)


def next_link(header: str) -> str | None:
    """The target of rel="next" in a Link header (RFC 8288)."""
    for link in _LINK.finditer(header):
        rel = _REL.search(link.group(2))
        if rel and "next" in (rel.group(1) or rel.group(2) or "").lower().split():
            return link.group(1)
    return None


def _asked(pagination: PagePagination | OffsetPagination | CursorPagination, number: int, value: Any) -> Page:
    size = {}
    if not isinstance(pagination, CursorPagination) and pagination.size_param:
        size = {pagination.size_param: pagination.size}
    values = {pagination.param: value, **size}
    name = {"page": "number", "offset": "offset", "cursor": "token"}[pagination.type]
    shown = {name: value, "size": None if isinstance(pagination, CursorPagination) else pagination.size}
    if pagination.place == "body":
        return Page(number, body=values, values=shown)
    return Page(number, {name: str(one) for name, one in values.items()}, values=shown)


def _linked(number: int, target: Any, url: str, same_origin: str = "strict") -> Page | None:
    if target in (None, ""):
        return None
    if not isinstance(target, str):
        raise MalformedPage(f"the next page's address is no text: {target!r:.100}")
    try:
        absolute = urljoin(url, encoded(target)).partition("#")[0]
        old, new = urlsplit(url), urlsplit(absolute)
    except ValueError as error:
        raise MalformedPage(f"the next page's address is none: {target!r:.100}") from error
    behind_tls = (old.scheme, new.scheme) == ("https", "http") and old.hostname == new.hostname
    if same_origin == "path" or (behind_tls and new.port in (None, 80, old.port)):
        # A server behind a proxy does not know its own outer name.
        absolute = new._replace(scheme=old.scheme, netloc=old.netloc).geturl()
    elif (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise MalformedPage(
            f"the next page lies on another origin ({new.scheme}://{new.netloc}); it is not followed, "
            "because the credentials would go there. If it is the same server by another name, say "
            "form.same_origin: path"
        )
    return Page(number, {}, absolute)
