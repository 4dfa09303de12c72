"""Telling a list endpoint's pagination from its first answer, where that makes it plain. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from asgard_assets.ingest.api.lists.pagination import MalformedPage, at
from asgard_assets.ingest.api.source.forms import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)

_ITEMS = (
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
)
_TOTAL = "total total_count totalCount count total_items totalItems total_results totalResults".split()
_PAGE_PARAM = re.compile(r"^_?p(age)?([_-]?(no|num|number)|\[number\])?$", re.IGNORECASE)


def find_items(body: Any) -> str:
    """Path of the list in the body. Raises MalformedPage, which names the lists there are, unless one is plain."""
    if isinstance(body, list):
        return ""
    if isinstance(body, Mapping):
        for path in _ITEMS:
            if isinstance(at(body, path), list):
                return path
        inner = body.get("_embedded")
        places = {"": body} | ({"_embedded.": inner} if isinstance(inner, Mapping) else {})
        lists = [f"{p}{n}" for p, node in places.items() for n, v in node.items() if isinstance(v, list)]
        if len(lists) == 1:
            return lists[0]
        if lists:
            raise MalformedPage(f"the page has several lists ({', '.join(lists)}); name one in form.items")
    raise MalformedPage("the page has no list that could be told; name its path in form.items")


def detect(url: str, headers: Mapping[str, str], body: Any, items: int) -> Pagination:
    """The pagination of the list whose first answer this is; NoPagination where nothing speaks of pages.

    Raises MalformedPage where the answer says that there is more, but not plainly how to get it.
    """
    if re.search(r"rel=\"?[^\";]*\b(next|prev|last|first)\b", headers.get("link", ""), re.IGNORECASE):
        return LinkPagination(type="link")
    if isinstance(body, Mapping):
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        for found in (_next_url(body), _cursor(body), _last_item(body), _pages(body, query), _offset(body)):
            if found is not None:
                return found
    _refuse_more(headers, body, items)
    return NoPagination()


def shown(pagination: Pagination) -> str:
    """What was found, in a reader's words."""
    told = pagination.model_dump(exclude={"type"}, exclude_defaults=True)
    match pagination:
        case CursorPagination(last_item=None):
            told = {"param": pagination.param, "cursor": pagination.cursor}
        case NextUrlPagination():
            told = {"url": pagination.url}
        case PagePagination() | OffsetPagination():
            told = {"param": pagination.param} | told
    fields = ", ".join(f"{name}: {value}" for name, value in told.items())
    return f"{pagination.type}{f' ({fields})' if fields else ''}"


def _paths(names: Any) -> list[str]:
    return [f"{around}{name}" for around in (*_AROUND, *_AROUND_TWICE) for name in names]


def _first(body: Mapping[str, Any], names: Any, kind: type | tuple[type, ...]) -> str | None:
    for path in _paths(names):
        value = at(body, path)
        if isinstance(value, kind) and not isinstance(value, bool | list | Mapping):
            return path
    return None


def _next_url(body: Mapping[str, Any]) -> Pagination | None:
    ended = None
    for path in ("@odata.nextLink", *_paths(_NEXT_URL)):
        value = at(body, path)
        if isinstance(value, str) and re.match(r"https?://|/|\?", value):
            return NextUrlPagination(type="next_url", url=path)
        if value is None and ended is None and _has(body, path):
            ended = path
    # A page that is the first and the last: null stands where the next address would.
    counted = _first(body, _PAGES, int) is not None or _first(body, _CURSOR, str) is not None
    return NextUrlPagination(type="next_url", url=ended) if ended and not counted else None


def _cursor(body: Mapping[str, Any]) -> Pagination | None:
    for name, param in _CURSOR.items():
        for path in _paths([name]):
            value = at(body, path)
            if _has(body, path) and (value is None or isinstance(value, str | int)):
                more = _first_flag(body)
                return CursorPagination(type="cursor", param=param, cursor=path, more=more)
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


def _pages(body: Mapping[str, Any], query: Mapping[str, str]) -> Pagination | None:
    pages = _first(body, _PAGES, int)
    if pages is None:
        return None
    named = next((name for name in query if _PAGE_PARAM.match(name)), None)
    page = _first(body, _PAGE, int)
    asked = query.get(named or "", "")
    start = int(at(body, page)) if page else int(asked) if asked.isdigit() else 1
    return PagePagination(type="page", param=named or "page", start=start, size_param=None, pages=pages)


def _offset(body: Mapping[str, Any]) -> Pagination | None:
    for around in (*_AROUND, *_AROUND_TWICE):
        for offset, limit in _OFFSETS:
            size = at(body, around + limit)
            total = next((around + n for n in _TOTAL if isinstance(at(body, around + n), int)), None)
            if isinstance(at(body, around + offset), int) and isinstance(size, int) and size > 0 and total:
                return OffsetPagination(type="offset", param=offset, size_param=limit, size=size, total=total)
    return None


def _refuse_more(headers: Mapping[str, str], body: Any, items: int) -> None:
    said = None
    if isinstance(body, Mapping):
        flag, total = _first_flag(body), _first(body, _TOTAL, int)
        if flag and at(body, flag):
            said = f"`{flag}` is true"
        elif total and at(body, total) > items:
            said = f"`{total}` is {at(body, total)}"
    count = headers.get("x-total-count", "")
    if count.isdigit() and int(count) > items:
        said = f"the header X-Total-Count is {count}"
    if said:
        raise MalformedPage(
            f"{said} and the page has {items} items, but how to get the next page is not plain; "
            "name it in form.pagination"
        )


def _first_flag(body: Mapping[str, Any]) -> str | None:
    return next((path for path in _paths(_MORE) if isinstance(at(body, path), bool)), None)


def _has(body: Mapping[str, Any], path: str) -> bool:
    around, _, name = path.rpartition(".")
    if path in body:
        return True
    node = at(body, around)
    return isinstance(node, Mapping) and name in node
