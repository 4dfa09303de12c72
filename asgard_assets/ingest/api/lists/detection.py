"""Telling a list endpoint's pagination from its first answer, where that makes it plain. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from asgard_assets.ingest.api.lists.complete import how, looks_like_address, unread
from asgard_assets.ingest.api.lists.pagination import MalformedPage, link_relations
from asgard_assets.ingest.api.lists.signs import Sign, around, full_page, is_next, links, signs
from asgard_assets.ingest.api.lists.suspects import Answer, suspect
from asgard_assets.ingest.api.source.forms import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)
from asgard_assets.ingest.api.source.paths import at, flag, has, whole

WELL_KNOWN = (
    "data items results records values value entries rows objects content docs list hits.hits data.items "
    "result.items response.docs".split()
)
_AROUND = (
    "",
    "meta.",
    "pagination.",
    "paging.",
    "page_info.",
    "pageInfo.",
    "page.",
    "links.",
    "_links.",
    "info.",
)
_AROUND_TWICE = ("meta.pagination.", "meta.page.", "meta.links.", "response_metadata.", "data.", "result.")
_NEXT_URL = (
    "next next_url nextUrl next_page nextPage next_page_url nextPageUrl next_link nextLink next.href "
    "next_page.uri next_page.url next_page.href next.url next.uri nextPage.url nextPage.uri".split()
)
_CURSOR = {
    "next_cursor": "cursor",
    "nextCursor": "cursor",
    "next_page_cursor": "cursor",
    "next_page_token": "page_token",
    "nextPageToken": "pageToken",
    "next_token": "next_token",
    "nextToken": "nextToken",
    "continuation_token": "continuation_token",
    "continuationToken": "continuationToken",
    "cursor.next": "cursor",
    "cursors.after": "after",
    "cursor.after": "after",
    "end_cursor": "after",
    "endCursor": "after",
}
_MORE = "has_more hasMore has_next hasNext has_next_page hasNextPage more".split()
_PAGE = "page current_page currentPage page_number pageNumber number".split()
_PAGES = "pages total_pages totalPages page_count pageCount last_page lastPage num_pages".split()
_OFFSETS = (
    ("offset", "limit"),
    ("skip", "limit"),
    ("startAt", "maxResults"),
    ("start", "limit"),
    ("from", "size"),
    ("startIndex", "itemsPerPage"),
    ("start_index", "items_per_page"),
)
_ASKED_AS = {
    "itemsPerPage": "count",
    "items_per_page": "count",
}  # where the answer's name is not the parameter's
_TOTAL = "total total_count totalCount count total_items totalItems total_results totalResults".split()
_PAGE_PARAM = re.compile(r"^_?p(age)?([_-]?(no|num|number)|\[number\])?$", re.IGNORECASE)


def find_items(body: Any) -> str:
    """Path of the list in the body. Raises MalformedPage, which names the lists there are, unless one is plain."""
    if isinstance(body, list):
        return ""
    if isinstance(body, Mapping):
        for path in WELL_KNOWN:
            if isinstance(at(body, path), list):
                return path
        inner = body.get("_embedded")
        places = {"": body} | ({"_embedded.": inner} if isinstance(inner, Mapping) else {})
        lists = [
            f"{p}{n}"
            for p, node in places.items()
            for n, v in node.items()
            if isinstance(v, list) and not links(n, v)
        ]
        if len(lists) == 1:
            return lists[0]
        if lists:
            raise MalformedPage(f"the page has several lists ({', '.join(lists)}); name one in form.items")
    raise MalformedPage("the page has no list that could be told; name its path in form.items")


def detect(
    url: str,
    headers: Mapping[str, str],
    body: Any,
    items: int,
    path: str = "",
    status: int = 200,
    method: str = "GET",
    ignored: tuple[str, ...] = (),
) -> Pagination:
    """The pagination of the list whose first answer this is; NoPagination where nothing speaks of pages.

    `path` is where the list is. Raises MalformedPage where the answer says that there is more, but not plainly
    how to get it.
    """
    pages = {"next", "prev", "last", "first"}
    if any(not pages.isdisjoint(relations) for _, relations in link_relations(headers.get("link", ""))):
        return LinkPagination(type="link")
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    told = signs(status, headers, body, path, query, ignored)
    for sign in told:
        if sign.kind == "next" and sign.header and _address(sign.value):
            return NextUrlPagination(type="next_url", header=sign.at)
    if isinstance(body, Mapping):
        places = _places(path)
        for found in (
            _next_url(body, places),
            _cursor(body, places, path, method),
            _last_item(body),
            _pages(body, query, places),
            _offset(body, places),
            _token(told, query),
        ):
            if found is not None:
                return found
    more = unread(NoPagination(), told, items, 1)
    if more is None and not _ended(told, items):
        came = at(body, path)
        came = came if isinstance(came, list) else [None] * items
        more = full_page(query, items) or suspect(Answer(url, headers, body, path, came, query), ignored)
    if more is not None and more.at not in ignored:
        raise MalformedPage(
            f"{more.said} and the page has {items} items, but how to get the next page is not plain; "
            f"{how(more, query)}"
        )
    return NoPagination()


def _ended(told: Sequence[Sign], items: int) -> bool:
    """Whether the answer says by itself that this is all."""
    return any(
        (s.kind == "flag" and not s.value)
        or (s.kind == "total" and s.value == items and not s.at.endswith("count"))
        for s in told
    )


def shown(pagination: Pagination) -> str:
    """What was found, in a reader's words."""
    told = pagination.model_dump(exclude={"type"}, exclude_defaults=True)
    match pagination:
        case CursorPagination(last_item=None):
            told = {"param": pagination.param, "cursor": pagination.cursor}
        case NextUrlPagination():
            told = {"header": pagination.header} if pagination.header else {"url": pagination.url}
        case PagePagination() | OffsetPagination():
            told = {"param": pagination.param} | told
    fields = ", ".join(f"{name}: {value}" for name, value in told.items())
    return f"{pagination.type}{f' ({fields})' if fields else ''}"


def _address(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _places(path: str) -> tuple[str, ...]:
    """Where paging stands: beside the list and above it, in the body, and in sections that many APIs have."""
    beside = [f"{place}{section}" for place in around(path) if place for section in _AROUND]
    return tuple(dict.fromkeys((*beside, *_AROUND, *_AROUND_TWICE)))


def _first(body: Mapping[str, Any], places: Sequence[str], names: Sequence[str]) -> str | None:
    """The first path of these that holds a number, be it as text."""
    paths = (f"{place}{name}" for place in places for name in names)
    return next((path for path in paths if whole(at(body, path)) is not None), None)


def _next_url(body: Mapping[str, Any], places: Sequence[str]) -> Pagination | None:
    ended = None
    for path in ("@odata.nextLink", *(f"{place}{name}" for place in places for name in _NEXT_URL)):
        value = at(body, path)
        if isinstance(value, str) and looks_like_address(value):
            return NextUrlPagination(type="next_url", url=path)
        if value is None and ended is None and has(body, path):
            ended = path
    # A page that is the first and the last: null stands where the next address would.
    token = any(isinstance(at(body, f"{place}{name}"), str | int) for name in _CURSOR for place in places)
    counted = _first(body, places, _PAGES) is not None or token
    return NextUrlPagination(type="next_url", url=ended) if ended and not counted else None


def _cursor(body: Mapping[str, Any], places: Sequence[str], path: str, method: str) -> Pagination | None:
    for name, param in _CURSOR.items():
        for place in places:
            where = f"{place}{name}"
            value = at(body, where)
            if has(body, where) and (value is None or isinstance(value, str | int)):
                more = _more(body, places)
                if name == "endCursor" and method == "POST":  # GraphQL
                    return CursorPagination(
                        type="cursor", param="variables.after", cursor=where, more=more, place="body"
                    )
                return CursorPagination(type="cursor", param=param, cursor=where, more=more)
    return None


def _last_item(body: Mapping[str, Any]) -> Pagination | None:
    """Lists such as Stripe's: `object: list`, a flag, and the last item's id."""
    rows = body.get("data")
    if (
        body.get("object") != "list"
        or not isinstance(body.get("has_more"), bool)
        or not isinstance(rows, list)
    ):
        return None
    if rows and not at(rows[-1], "id"):
        return None
    return CursorPagination(type="cursor", param="starting_after", last_item="id", more="has_more")


def _pages(body: Mapping[str, Any], query: Mapping[str, str], places: Sequence[str]) -> Pagination | None:
    pages = _first(body, places, _PAGES)
    if pages is None:
        return None
    named = next((name for name in query if _PAGE_PARAM.match(name)), None)
    page = _first(body, places, _PAGE)
    asked = query.get(named or "", "")
    start = whole(at(body, page)) if page else int(asked) if asked.isdigit() else 1
    return PagePagination(type="page", param=named or "page", start=start or 0, size_param=None, pages=pages)


def _offset(body: Mapping[str, Any], places: Sequence[str]) -> Pagination | None:
    for place in places:
        for offset, limit in _OFFSETS:
            size, start = whole(at(body, place + limit)), whole(at(body, place + offset))
            total = next((place + n for n in _TOTAL if whole(at(body, place + n)) is not None), None)
            if start is not None and size and total:
                return OffsetPagination(
                    type="offset", param=offset, size_param=_ASKED_AS.get(limit, limit), size=size, total=total,
                    start=min(start, 1) if limit in _ASKED_AS else 0,
                )  # fmt: skip
    return None


def _token(told: Sequence[Sign], query: Mapping[str, str]) -> Pagination | None:
    """A token or address under another name. A wrong guess of its parameter shows: the first page comes again."""
    for sign in (s for s in told if s.kind == "next" and not s.header):
        if isinstance(sign.value, str) and looks_like_address(sign.value):
            return NextUrlPagination(type="next_url", url=sign.at)
        name = sign.at.rpartition(".")[2]
        if not is_next(sign.value) or isinstance(sign.value, Mapping) or "[" in sign.at:
            return None
        param = re.sub(r"^next[_-]?", "", name, flags=re.IGNORECASE) or "cursor"
        param = param[:1].lower() + param[1:] if name[:4] == "next" else param
        if param.lower() in ("page", "pagenumber", "page_number"):
            param = next((asked for asked in query if _PAGE_PARAM.match(asked)), param)
        flags = [s.at for s in told if s.kind == "flag" and not s.header and s.value]
        more = next((at for at in flags if "more" in at.lower() or "next" in at.lower()), None)
        return CursorPagination(type="cursor", param=param, cursor=sign.at, more=more)
    return None


def _more(body: Mapping[str, Any], places: Sequence[str]) -> str | None:
    paths = (f"{place}{name}" for place in places for name in _MORE)
    return next((path for path in paths if flag(at(body, path)) is not None), None)
