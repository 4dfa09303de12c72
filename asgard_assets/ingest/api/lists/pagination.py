"""Walking a list endpoint: given a page's answer, what is the next request? Pure functions, no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
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
from asgard_assets.ingest.api.source.paths import at, flag, whole
from asgard_assets.ingest.api.values.exact import plain

__all__ = ["MalformedPage", "Page", "at", "first", "following", "next_link"]

# Possessive: a header of 100 kB costs as much as its length.
_PARAMETERS = re.compile(r"(?:[^,\"]++|\"(?:[^\"\\]++|\\.)*+\")*+", re.DOTALL)
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;,\"]+))", re.IGNORECASE)


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
    step: str = ""  # of an asynchronous job
    job: Mapping[str, Any] = field(default_factory=dict)  # what `{job.…}` stands for


@dataclass(frozen=True)
class Seen:
    """What earlier pages and the rest of the answer say.

    `honoured`: some page had just the size that was asked for. `more`: whether anything else in the answer says
    that there is more; None where nothing does. `count`: the declared count, as an earlier page said it.
    """

    honoured: bool = True
    more: bool | None = None
    count: int | None = None


def first(pagination: Pagination) -> Page:
    """The page that a walk starts with."""
    if isinstance(pagination, PagePagination | OffsetPagination):
        return _asked(pagination, 0, pagination.start)
    return Page()


def following(
    pagination: Pagination,
    page: Page,
    url: str,
    headers: Mapping[str, str],
    body: Any,
    items: int,
    last: Any = None,
    same_origin: str = "auto",
    seen: Seen = Seen(),  # noqa: B008  frozen
) -> Page | None:
    """The page after `page`, or None at the end. `url` is the one that `page` was read from, `last` its
    last item.

    Raises MalformedPage where the next address lies on another origin: credentials would go there.
    """
    number = page.number + 1
    if isinstance(pagination, NoPagination | AutoPagination):
        return None
    if isinstance(pagination, LinkPagination):
        return _linked(number, next_link(headers.get("link", "")), url, same_origin)
    says = flagged(pagination, body)
    if says is False:
        return None
    match pagination:
        case PagePagination():
            pages = count_of(pagination, body, items, seen.count)
            # A walk that starts in the middle has the pages before it behind it.
            before = max(0, pagination.start - 1)
            over = before + number >= pages if pages is not None else _over(pagination, items, says, seen)
            return None if over else _asked(pagination, number, pagination.start + number)
        case OffsetPagination():
            offset = (
                int(
                    page.values.get(
                        "offset", {**page.query, **page.body}.get(pagination.param, pagination.start)
                    )
                )
                + items
            )
            total = count_of(pagination, body, items, seen.count)
            over = (
                offset - pagination.start >= total
                if total is not None
                else _over(pagination, items, says, seen)
            )
            if over or (items == 0 and says is None and seen.more is not True):
                return None
            # Past a hole in the list: an empty page does not move an offset by itself.
            return _asked(pagination, number, offset if items else offset + pagination.size)
        case CursorPagination():
            return _after_token(pagination, number, headers, body, items, last)
        case NextUrlPagination():
            told = headers.get(pagination.header.lower()) if pagination.header else at(body, pagination.url)
            return None if _ends(told, pagination.end) else _linked(number, told, url, same_origin)


def flagged(pagination: Pagination, body: Any) -> bool | None:
    """What the declared flag says about more; None where there is none. Raises MalformedPage for another value."""
    for name in ("more", "last"):
        path = getattr(pagination, name, None)
        value = None if path is None else at(body, path)
        if value is not None:
            says = flag(value)
            if says is None:
                raise MalformedPage(
                    f"form.pagination.{name}: `{path}` is {value!r:.60}; it must be true or false"
                )
            return says if name == "more" else not says
    return None


def count_of(pagination: Pagination, body: Any, items: int, known: int | None = None) -> int | None:
    """The declared number of pages or items. Raises MalformedPage where the answer has no number there."""
    name = "pages" if isinstance(pagination, PagePagination) else "total"
    path = getattr(pagination, name, None)
    if path is None:
        return None
    value = at(body, path)
    number = whole(value)
    if number is not None:
        return number
    if value is None and (known is not None or items == 0):
        return known
    said = f"is {value!r:.60}, which is no number" if value is not None else "is not in the answer"
    raise MalformedPage(f"form.pagination.{name}: `{path}` {said}; correct the path, or leave it out")


def _over(pagination: PagePagination | OffsetPagination, items: int, says: bool | None, seen: Seen) -> bool:
    if says is True or seen.more is True:
        return False
    if seen.more is False or items == 0:
        return True
    return pagination.size_param is not None and seen.honoured and items < pagination.size


def _after_token(
    pagination: CursorPagination, number: int, headers: Mapping[str, str], body: Any, items: int, last: Any
) -> Page | None:
    if pagination.last_item is not None:
        token = at(last, pagination.last_item)
        if items and token is None:
            raise MalformedPage(
                f"form.pagination.last_item: `{pagination.last_item}` is not in the page's last item"
            )
    elif pagination.header is not None:
        token = headers.get(pagination.header.lower())
    else:
        token = at(body, pagination.cursor)
    return None if _ends(token, pagination.end) else _asked(pagination, number, plain(token))


def _ends(token: Any, ends: tuple[Any, ...]) -> bool:
    """Whether the value means the end; true is not 1."""
    return token is None or any(
        token == end and isinstance(token, bool) == isinstance(end, bool) for end in ends
    )


def next_link(header: str) -> str | None:
    """The target of rel="next" in a Link header (RFC 8288)."""
    return next((target for target, relations in link_relations(header) if "next" in relations), None)


def link_relations(header: str) -> Iterator[tuple[str, list[str]]]:
    """Targets of a Link header with their relations in lower case. What stands behind an open quote is none."""
    at = 0
    while (start := header.find("<", at)) >= 0 and (end := header.find(">", start)) >= 0:
        found = _PARAMETERS.match(header, end + 1)
        assert found is not None
        rel = _REL.search(found[0])
        yield header[start + 1 : end], ((rel[1] or rel[2] or rel[3] or "") if rel else "").lower().split()
        at = found.end() if header[found.end() : found.end() + 1] != '"' else len(header)


def _asked(pagination: PagePagination | OffsetPagination | CursorPagination, number: int, value: Any) -> Page:
    size = {}
    if not isinstance(pagination, CursorPagination) and pagination.size_param:
        size = {pagination.size_param: pagination.size}
    values = {pagination.param: value, **size}
    name = {"page": "number", "offset": "offset", "cursor": "token"}[pagination.type]
    shown = {name: value, "size": None if isinstance(pagination, CursorPagination) else pagination.size}
    if pagination.place == "body":
        return Page(number, body=values, values=shown)
    return Page(number, {name: _parameter(one) for name, one in values.items()}, values=shown)


def _parameter(value: Any) -> str:
    """As a query writes it: true and false in lower case, objects and lists as JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def stored(address: str, base_url: str, same_origin: str = "auto") -> Page | None:
    """The first page of a walk that begins at an address of an earlier one. Raises MalformedPage."""
    return _linked(0, address, base_url, same_origin)


def _linked(number: int, target: Any, url: str, same_origin: str = "auto") -> Page | None:
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
    same_list = same_origin == "auto" and old.path == new.path
    if same_origin == "path" or same_list or (behind_tls and new.port in (None, 80, old.port)):
        # A server behind a proxy does not know its own outer name. The origin that is asked stays the same.
        absolute = new._replace(scheme=old.scheme, netloc=old.netloc).geturl()
    elif (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise MalformedPage(
            f"the next page lies on another origin ({new.scheme}://{new.netloc}); it is not followed, "
            "because the credentials would go there. If it is the same server by another name, say "
            "form.same_origin: path"
        )
    return Page(number, {}, absolute)
