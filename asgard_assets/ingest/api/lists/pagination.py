"""Walking a list endpoint: given a page's answer, what is the next request? Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from asgard_assets.errors import SourceError, Terminal
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
            return _linked(number, at(body, pagination.url), url)
        case LinkPagination():
            return _linked(number, next_link(headers.get("link", "")), url)


def next_link(header: str) -> str | None:
    """The target of rel="next" in a Link header (RFC 8288)."""
    for link in _LINK.finditer(header):
        rel = _REL.search(link.group(2))
        if rel and "next" in (rel.group(1) or rel.group(2) or "").lower().split():
            return link.group(1)
    return None


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None where it is missing. An empty path is the body itself.

    A number is a place in a list; a key that itself has dots (`@odata.nextLink`) is found too.
    """
    if not path:
        return body
    if isinstance(body, Mapping) and path in body:
        return body[path]
    name, _, rest = path.partition(".")
    if isinstance(body, Mapping):
        return at(body.get(name), rest) if name in body else None
    if isinstance(body, list) and name.isdigit() and int(name) < len(body):
        return at(body[int(name)], rest)
    return None


def _asked(pagination: PagePagination | OffsetPagination | CursorPagination, number: int, value: Any) -> Page:
    size = {}
    if not isinstance(pagination, CursorPagination) and pagination.size_param:
        size = {pagination.size_param: pagination.size}
    values = {pagination.param: value, **size}
    if pagination.place == "body":
        return Page(number, body=values)
    return Page(number, {name: str(one) for name, one in values.items()})


def _linked(number: int, target: Any, url: str) -> Page | None:
    if target in (None, ""):
        return None
    if not isinstance(target, str):
        raise MalformedPage(f"the next page's address is no text: {target!r:.100}")
    try:
        absolute = urljoin(url, target)
        old, new = urlsplit(url), urlsplit(absolute)
    except ValueError as error:
        raise MalformedPage(f"the next page's address is none: {target!r:.100}") from error
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise MalformedPage(
            f"the next page lies on another origin ({new.scheme}://{new.netloc}); it is not followed, "
            "because the credentials would go there"
        )
    return Page(number, {}, absolute)
