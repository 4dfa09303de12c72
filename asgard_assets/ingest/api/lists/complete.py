"""Whether a walk may end: nothing in its answers may say that there is more. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asgard_assets.ingest.api.lists.signs import Sign
from asgard_assets.ingest.api.source.forms import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)


def says_more(
    pagination: Pagination, signs: Sequence[Sign], items: int, pages: int, came: int
) -> bool | None:
    """What the signs say after `pages` pages with `items` items, of which the last page had `came`; None: nothing."""
    if any(sign.value for sign in signs if sign.kind == "flag"):
        return True
    if any(sign.kind == "flag" for sign in signs):
        return False
    if unread(pagination, signs, items, pages) is not None:
        return True
    totals = [sign for sign in signs if sign.kind == "total" and not sign.least]
    # The number of all items, and not of this page's.
    if any(sign.value == items and (items > came or not sign.at.endswith("count")) for sign in totals):
        return False
    return None


def unread(pagination: Pagination, signs: Sequence[Sign], items: int, pages: int) -> Sign | None:
    """The sign that a walk which ends here would leave something behind."""
    flags = [sign for sign in signs if sign.kind == "flag"]
    if more := next((sign for sign in flags if sign.value), None):
        return more
    counted = isinstance(pagination, PagePagination | OffsetPagination)
    whole_list = not isinstance(pagination, PagePagination) or pagination.start <= 1
    for sign in signs:
        match sign.kind:
            case "total":
                if whole_list and (sign.value > items or (sign.least and sign.value == items)):
                    return sign
            case "pages":
                before = max(0, pagination.start - 1) if isinstance(pagination, PagePagination) else 0
                if sign.value > before + pages and _by_pages(pagination):
                    return sign
            case "next":
                # A walk that has followed its own tokens knows its end; others may stand there for ever.
                led = (
                    isinstance(pagination, CursorPagination | NextUrlPagination | LinkPagination)
                    and pages > 1
                )
                if not led and not flags and not _own(pagination, sign):
                    return sign
            case "range":
                if not flags and pages == 1 and not counted and not (sign.at == "status" and _counts(signs)):
                    return sign
    return None


def _own(pagination: Pagination, sign: Sign) -> bool:
    """Whether it is the key that the walk is led by: what it holds was looked at."""
    told = (getattr(pagination, name, None) for name in ("cursor", "url", "header"))
    return sign.at.lower() in {path.lower() for path in told if path}


def _by_pages(pagination: Pagination) -> bool:
    return not isinstance(pagination, CursorPagination | NextUrlPagination | LinkPagination)


def _counts(signs: Sequence[Sign]) -> bool:
    return any(sign.kind == "total" for sign in signs)


def window(pagination: Pagination, items: int, size: int | None) -> bool:
    """Whether the walk ended just where a search cuts its results off."""
    return isinstance(pagination, PagePagination | OffsetPagination) and items == size


def how(sign: Sign, sent: Mapping[str, Any]) -> str:
    """The YAML that would get what the sign speaks of, and the one that says it means something else."""
    name = sign.at.rpartition(".")[2]
    match sign.kind:
        case "next" if sign.header and name == "link":
            way = "{type: link}"
        case "next" if sign.header and isinstance(sign.value, str) and looks_like_address(sign.value):
            way = f"{{type: next_url, header: {sign.at}}}"
        case "next" if sign.header:
            way = f"{{type: cursor, header: {sign.at}, param: NAME}}"
        case "next" if isinstance(sign.value, str) and looks_like_address(sign.value):
            way = f"{{type: next_url, url: {_quoted(sign.at)}}}"
        case "next":
            way = f"{{type: cursor, cursor: {_quoted(sign.at)}, param: NAME}}"
        case "flag":
            way = f"{{type: page, {'last' if 'last' in name.lower() else 'more'}: {_quoted(sign.at)}}}"
        case "pages" if not sign.header:
            way = f"{{type: page, pages: {_quoted(sign.at)}}}"
        case "total" if not sign.header:
            way = f"{{type: offset, total: {_quoted(sign.at)}}}"
        case _:
            way = "{type: offset, size: N} or {type: page, size: N}"
    return (
        f"name it in form.pagination, such as {way}. If `{sign.at}` means something else: "
        f"form.expect: {{ignore: [{_quoted(sign.at)}]}}"
    )


def looks_like_address(text: str) -> bool:
    return text.startswith(("http://", "https://", "/", "?")) or (
        "?" in text and "=" in text and " " not in text
    )


def _quoted(path: str) -> str:
    return f'"{path}"' if any(sign in path for sign in "[]{}@:, ") else path
