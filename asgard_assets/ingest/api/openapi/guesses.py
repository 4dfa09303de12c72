"""What a description lets guess about a list: login, items, key, pages, parents. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.lists.detection import detect
from asgard_assets.ingest.api.lists.pagination import MalformedPage
from asgard_assets.ingest.api.openapi.document import Document, Listing, Parameter, kind_of
from asgard_assets.ingest.api.source.forms import (
    CursorPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    PullForm,
)
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.paths import at, placed

_LISTS = "data items results records values value entries rows objects content docs list".split()
_KEYS = "id uuid guid gid sid uid _id key".split()
_LIKE_KEY = re.compile(r"(^|_)(id|uuid)$|[a-z](Id|ID)$")
_SIZES = re.compile(
    r"^_?[$]?(limit|per_?page|page_?size|size|count|top|first|max_?results|max_?items|rows|take|page\[size\]|page\[limit\])$",
    re.IGNORECASE,
)
_PAGE = re.compile(r"^_?p(age)?([_-]?(no|num|number|index)|\[number\])?$", re.IGNORECASE)
_OFFSET = re.compile(r"^_?[$]?(offset|skip|start_?(at|index)?|from|page\[offset\])$", re.IGNORECASE)
_TOKEN = re.compile(
    r"^_?((next_?)?(page_?)?(token|cursor)|continue|continuation_?token|after|starting_?after|marker|page\[(after|cursor)\])$",
    re.IGNORECASE,
)
_MAXIMUM = re.compile(r"max(?:imum)?(?: of| is| value(?: is)?|:|=)? *(\d{2,5})", re.IGNORECASE)


@dataclass(frozen=True)
class Guess:
    """One guess: the field of the source, its value and what led to it."""

    field: str
    value: Any
    why: str


# The list --------------------------------------------------------------------------------------------------


def items(document: Document, listing: Listing) -> tuple[Guess, Mapping[str, Any]]:
    """Where the list is, and the schema of an item. Raises ConfigError where the answer has no list."""
    answer = listing.answer
    if kind_of(answer) == "array":
        return Guess("form.items", "", "the answer is a list"), document.flat(answer.get("items") or {})
    found = list(_arrays(document, answer))
    if not found:
        shown = ", ".join(list(answer.get("properties") or {})[:8])
        raise ConfigError(
            f"{document.file}: the answer of GET {listing.path} has no list "
            f"({f'its fields: {shown}' if shown else 'its fields are not described'}). "
            "For one request a row write a source of `form: {type: row}`"
        )
    last = [part for part in listing.path.split("/") if part and "{" not in part][-1:]
    found.sort(key=lambda one: _rank(one, last))
    path, schema = found[0]
    others = f"; there are also {', '.join(other for other, _ in found[1:4])}" if len(found) > 1 else ""
    return Guess("form.items", path, f"a list in the answer{others}"), schema


def _rank(found: tuple[str, Mapping[str, Any]], last: list[str]) -> tuple[Any, ...]:
    path, schema = found
    name = path.rpartition(".")[2]
    return (kind_of(schema) != "object", name.lower() not in last, name not in _LISTS, path.count("."))


def _arrays(
    document: Document, schema: Mapping[str, Any], place: str = "", depth: int = 3
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, node in (schema.get("properties") or {}).items():
        inner = document.flat(node)
        if kind_of(inner) == "array":
            yield f"{place}{name}", document.flat(inner.get("items") or {})
        elif depth and kind_of(inner) == "object":
            yield from _arrays(document, inner, f"{place}{name}.", depth - 1)


def key(document: Document, item: Mapping[str, Any]) -> Guess:
    """The field that tells items apart; an empty mapping where none looks like it."""
    fields = {name: document.flat(node) for name, node in (item.get("properties") or {}).items()}
    for place in ("", "metadata.", "attributes."):
        if place:
            inner = document.flat((item.get("properties") or {}).get(place.rstrip("."), {}))
            fields = {n: document.flat(node) for n, node in (inner.get("properties") or {}).items()}
        named = [name for name in _KEYS if name in fields]
        named += [name for name in fields if _LIKE_KEY.search(name) and name not in named]
        for name in named:
            kind = {"integer": "bigint", "string": "string"}.get(kind_of(fields[name]))
            if kind:
                sure = "required in" if name in (item.get("required") or ()) else "a field of"
                return Guess("form.key", {f"{place}{name}": kind}, f"`{place}{name}` is {sure} each item")
    return Guess("form.key", {}, "no field of an item looks like a key")


# Pages -----------------------------------------------------------------------------------------------------


def size_param(listing: Listing) -> Parameter | None:
    """The parameter that says how many items a page has."""
    return next((one for name, one in listing.query().items() if _SIZES.match(name)), None)


def page_size(parameter: Parameter | None) -> int:
    """As many items as the description lets ask for, at most 100 where it says nothing."""
    if parameter is None:
        return 100
    told = _MAXIMUM.search(parameter.description)
    most = parameter.schema.get("maximum") or (told and told.group(1)) or 0
    usual = parameter.schema.get("default") or 0
    best = next(
        (n for n in (most, usual) if isinstance(n, int | str) and str(n).isdigit() and int(n) > 0), 100
    )
    return min(int(best), 1000)


def pages(document: Document, listing: Listing, path: str) -> Guess:
    """How to get from page to page; `auto` where the description does not say it."""
    told = _of_answer(document, listing, path)
    if told is not None:
        return told
    query, size = listing.query(), size_param(listing)
    for name, one in query.items():
        if _PAGE.match(name) and one.kind in ("integer", "number", "string", ""):
            start = _start(one)
            made = PagePagination(
                type="page",
                param=name,
                start=start,
                size_param=size.name if size else None,
                size=page_size(size),
            )
            return _guess(made, _named(name, size))
        if size and _OFFSET.match(name) and one.kind in ("integer", "number"):
            made = OffsetPagination(type="offset", param=name, size_param=size.name, size=page_size(size))
            return _guess(made, _named(name, size))
    token = next((name for name in query if _TOKEN.match(name)), None)
    hint = f"; there is a parameter `{token}`" if token else ""
    return Guess(
        "form.pagination", {"type": "auto"}, f"the description does not say where the next page is{hint}"
    )


def _of_answer(document: Document, listing: Listing, path: str) -> Guess | None:
    """What the engine would tell from an answer that has everything which the description names."""
    if "link" in listing.headers:
        return Guess("form.pagination", {"type": "link"}, "the answer has a header Link")
    if kind_of(listing.answer) == "array":
        return None
    body = placed(_sample(document, listing.answer, path), path.split("."), [{"id": n} for n in range(2)])
    query = listing.query()
    try:
        found = detect("http://api/", {}, body, 2, path)
    except MalformedPage:
        return None
    match found:
        case NoPagination():
            return None
        case NextUrlPagination():
            return _guess(found, f"`{found.url}` in the answer holds an address")
        case CursorPagination():
            names = [name for name in query if _TOKEN.match(name)]
            if not names:
                return None
            param = found.param if found.param in query else names[0]
            return _guess(
                found.model_copy(update={"param": param}),
                f"`{found.cursor}` in the answer, parameter `{param}`",
            )
        case PagePagination() | OffsetPagination():
            return _counted(listing, found)
        case _:
            return None


def _counted(listing: Listing, found: PagePagination | OffsetPagination) -> Guess | None:
    query, size = listing.query(), size_param(listing)
    pattern = _PAGE if isinstance(found, PagePagination) else _OFFSET
    param = (
        found.param if found.param in query else next((name for name in query if pattern.match(name)), None)
    )
    if param is None or (size is None and isinstance(found, OffsetPagination)):
        return None
    update: dict[str, Any] = {
        "param": param,
        "size": page_size(size),
        "size_param": size.name if size else None,
    }
    if isinstance(found, PagePagination):
        update["start"] = _start(query[param])
    counted = found.pages if isinstance(found, PagePagination) else found.total
    return _guess(found.model_copy(update=update), f"{_named(param, size)}, and `{counted}` in the answer")


def _sample(document: Document, schema: Mapping[str, Any], path: str, place: str = "", depth: int = 4) -> Any:
    """An answer that has all that the schema names, but no other lists."""
    made: dict[str, Any] = {}
    for name, node in (schema.get("properties") or {}).items():
        inner, where = document.flat(node), f"{place}{name}"
        kind = kind_of(inner)
        if kind == "object" and depth:
            made[name] = _sample(document, inner, path, f"{where}.", depth - 1)
        elif kind == "string" or not kind:
            address = inner.get("format") in ("uri", "url") or re.search(r"(?i)ur[il]|href|link", name)
            linked = re.search(r"(?i)(^|[._])_?(links?|pages|paging)\.(\w+\.)*next$", where)
            made[name] = "http://api/?page=2" if address or linked else "text"
        elif kind in ("integer", "number"):
            made[name] = 2 if re.search(r"(?i)size|limit|max_?results|per_?page", name) else 9
        elif kind == "boolean":
            made[name] = not re.search(r"(?i)last|done|end", name)
    return made


def key_of(items: Sequence[Mapping[str, Any]], now: Mapping[str, str]) -> dict[str, str]:
    """The key of these items: the declared one if it holds, else a field that tells them apart, else none."""
    if now and all(_tells_apart(items, path) == kind for path, kind in now.items()):
        return dict(now)
    fields = dict.fromkeys(name for item in items for name in item)
    places = ["", *(f"{name}." for name in fields if name in ("metadata", "attributes", "fields"))]
    paths = [f"{place}{name}" for place in places for name in _KEYS]
    paths += [name for name in fields if _LIKE_KEY.search(name)]
    for path in dict.fromkeys(paths):
        if kind := _tells_apart(items, path):
            return {path: kind}
    return {}


def _tells_apart(items: Sequence[Mapping[str, Any]], path: str) -> str:
    """The type of the values at the path, if each item has another one; else nothing."""
    values = [at(item, path) for item in items]
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or len({*map(repr, values)}) < len(values):
        return ""
    return {int: "bigint", str: "string"}.get(kinds.pop(), "")


def small(source: ApiSource, size: int | None) -> ApiSource:
    """The source with pages of so many items, wherever it says how many."""
    if size is None or not isinstance(source.form, PullForm):
        return source
    form, query = source.form, dict(source.endpoint.query)
    if isinstance(form.pagination, PagePagination | OffsetPagination) and form.pagination.size_param:
        form = form.model_copy(update={"pagination": form.pagination.model_copy(update={"size": size})})
    query |= {name: str(size) for name in query if _SIZES.match(name)}
    endpoint = source.endpoint.model_copy(update={"query": query})
    return source.model_copy(update={"form": form, "endpoint": endpoint})


def _start(parameter: Parameter) -> int:
    """The number of the first page, as far as it is said."""
    for name in ("minimum", "default"):
        if parameter.schema.get(name) in (0, 1):
            return int(parameter.schema[name])
    return (
        0
        if re.search(r"(?i)zero.based|0.based|starts? (at|from|with) (0|zero)", parameter.description)
        else 1
    )


def _named(param: str, size: Parameter | None) -> str:
    return f"the parameters `{param}` and `{size.name}`" if size else f"the parameter `{param}`"


def _guess(pagination: Pagination, why: str) -> Guess:
    return Guess("form.pagination", told(pagination), why)


def told(pagination: Pagination) -> dict[str, Any]:
    """The pagination as YAML would say it: what differs from the defaults, and what a reader wants to see."""
    named = {"param", "size_param", "size", "start", "url", "cursor"}
    whole = pagination.model_dump(mode="json")
    short = pagination.model_dump(mode="json", exclude_defaults=True)
    shown = {name: value for name, value in whole.items() if name in short or name in named}
    if isinstance(pagination, CursorPagination) and (pagination.header or pagination.last_item):
        shown.pop("cursor", None)
    return {name: value for name, value in shown.items() if value is not None or name == "size_param"}
