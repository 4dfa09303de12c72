"""Walking a list endpoint: given a page's answer, what is the next request? Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from asgard_assets.errors import SourceError, Terminal
from asgard_assets.ingest.api.forms import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)

_LINK = re.compile(r"<([^>]*)>\s*((?:;[^,]*)?)")
_REL_NEXT = re.compile(r";\s*rel\s*=\s*\"?[^\";]*\bnext\b", re.IGNORECASE)


class MalformedPage(Terminal, SourceError):
    """A page is not what its source's configuration says."""


@dataclass(frozen=True)
class Page:
    """One page to ask for: parameters over the template's own, or a whole URL. `number` starts at 0."""

    number: int = 0
    query: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None


def first(pagination: Pagination) -> Page:
    """The page that a walk starts with."""
    if isinstance(pagination, PagePagination):
        return Page(0, {pagination.param: str(pagination.start), **_size(pagination)})
    if isinstance(pagination, OffsetPagination):
        return Page(0, {pagination.param: "0", **_size(pagination)})
    return Page()


def following(
    pagination: Pagination, page: Page, url: str, headers: Mapping[str, str], body: Any, items: int
) -> Page | None:
    """The page after `page`, or None at the end. `url` is the one that `page` was read from.

    Raises MalformedPage where the next address lies on another origin: credentials would go there.
    """
    number = page.number + 1
    match pagination:
        case NoPagination():
            return None
        case PagePagination():
            pages = None if pagination.pages is None else at(body, pagination.pages)
            if items == 0 or (isinstance(pages, int) and number >= pages):
                return None
            if pages is None and items < pagination.size:
                return None
            return Page(number, {pagination.param: str(pagination.start + number), **_size(pagination)})
        case OffsetPagination():
            if items < pagination.size:
                return None
            offset = int(page.query[pagination.param]) + items
            return Page(number, {pagination.param: str(offset), **_size(pagination)})
        case CursorPagination():
            cursor = at(body, pagination.cursor)
            return None if cursor in (None, "") else Page(number, {pagination.param: str(cursor)})
        case NextUrlPagination():
            return _linked(number, at(body, pagination.url), url)
        case LinkPagination():
            return _linked(number, next_link(headers.get("link", "")), url)


def next_link(header: str) -> str | None:
    """The target of rel="next" in a Link header (RFC 8288)."""
    return next((m.group(1) for m in _LINK.finditer(header) if _REL_NEXT.search(m.group(2))), None)


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None where it is missing. An empty path is the body itself."""
    for name in path.split(".") if path else ():
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def _size(pagination: PagePagination | OffsetPagination) -> dict[str, str]:
    return {pagination.size_param: str(pagination.size)} if pagination.size_param else {}


def _linked(number: int, target: Any, url: str) -> Page | None:
    if target in (None, ""):
        return None
    if not isinstance(target, str):
        raise MalformedPage(f"the next page's address is no text: {target!r:.100}")
    absolute = urljoin(url, target)
    old, new = urlsplit(url), urlsplit(absolute)
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise MalformedPage(
            f"the next page lies on another origin ({new.scheme}://{new.netloc}); it is not followed, "
            "because the credentials would go there"
        )
    return Page(number, {}, absolute)
