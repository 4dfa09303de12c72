"""What in an answer suggests that a list has more, or that it has ended. Pure, no I/O.

One model serves two ends: `auto` chooses a pagination by it, and every walk is checked against it before it may end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from asgard_assets.ingest.api.source.paths import at, flag, whole

Kind = Literal["next", "flag", "total", "pages", "range"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_TOKENS = frozenset(
    "next cursor token after bookmark continuation continue offset scroll marker resume".split()
)
_BESIDE = frozenset(
    "page id key url uri link href pagination paging list result results item items record records start end "
    "set position index batch exclusive x ms number num no pointer path search skip from range odata".split()
)
_NOT_NEXT = frozenset("prev previous first self current this before last sync delta".split())
_END_NAMES = frozenset(
    tuple(name.split("_"))
    for name in "last is_last last_page is_last_page is_final final end_of_stream end_of_list end_of_results end_of_data "
    "end_reached eof done is_done is_end exhausted is_complete complete end_of_records end_of_file is_finished finished "
    "all_loaded".split()
)
_MORE_WORDS = frozenset(
    "more has have is are there any next page pages item items result results record records data row rows "
    "available entries objects truncated incomplete additional exceeded transfer limit".split()
)
_COUNTED = frozenset(
    "total count counts item items result results element elements record records row rows entry entries hit hits "
    "number num nb of matched found size full overall objects x wp all grand".split()
)
_TOTALS = frozenset(
    {
        ("count",),
        ("num", "found"),
        ("number", "matched"),
        ("records", "filtered"),
        ("odata", "count"),
        ("nb", "hits"),
        *((of, "count") for of in ("result", "results", "record", "records", "row", "rows", "hit", "hits")),
    }  # fmt: skip
)
_CONTAINERS = frozenset(
    "meta metadata page pages paging pagination info links link cursor cursors next data result results variables "
    "search list range hits response more paginator header headers view".split()
)
_RELATIONS = frozenset("rel relation".split())
_OF_LINKS = _RELATIONS | {"type", "name"}
_ADDRESSES = frozenset("href url uri link".split())
_SIZES = re.compile(
    r"^_?[$]?(limit|per_?page|page_?size|size|count|top|first|max_?results|max_?items|rows|page\[size\]|page\[limit\]|itemsPerPage|results_?per_?page|take)$",
    re.IGNORECASE,
)
_RANGE = re.compile(r"^(?:(?!bytes)\w+[ =:])?\s*(?:(\d+)-(\d+)|\*)/(\d+|\*)$")


@dataclass(frozen=True)
class Sign:
    """One key of an answer and what it says. `at` is a path in the body or the name of a header.

    kind: next (a token or an address), flag (`value`: whether there is more), total, pages, range (a part of
    the list, of which nobody says how much there is). `least`: the total is a lower bound.
    """

    kind: Kind
    at: str
    value: Any
    header: bool = False
    least: bool = False
    raw: Any = None  # a flag as it was sent

    @property
    def said(self) -> str:
        name = (
            f"the header {'-'.join(part.capitalize() for part in self.at.split('-'))}"
            if self.header
            else f"`{self.at}`"
        )
        return f"{name} is {shown_value(self.value if self.raw is None else self.raw)}{' or more' if self.least else ''}"


def shown_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value!s:.80}"


def signs(
    status: int,
    headers: Mapping[str, str],
    body: Any,
    path: str = "",
    sent: Mapping[str, Any] | None = None,
    ignored: tuple[str, ...] = (),
) -> list[Sign]:
    """Everything in the answer that speaks of more, or of the end. `path` is where the list is, `sent` are the request's parameters: what only echoes them says nothing."""
    echo = {str(value) for value in (sent or {}).values()}
    skip = {name.lower() for name in ignored}
    found = [*_of_headers(status, headers, echo), *_of_body(body, path, echo)]
    return [sign for sign in found if sign.at.lower() not in skip]


def full_page(sent: Mapping[str, Any], items: int) -> Sign | None:
    """The parameter that asked for just as many items as came."""
    for name, value in sent.items():
        if items > 1 and _SIZES.match(name) and whole(value) == items:
            return Sign("range", name, value)
    return None


# Headers ---------------------------------------------------------------------------------------------------


def _of_headers(status: int, headers: Mapping[str, str], echo: set[str]) -> Iterator[Sign]:
    partial = status == 206
    if told := _RANGE.match(headers.get("content-range", "").strip()):
        total = whole(told.group(3))
        if total is not None:
            partial = False
            yield Sign("total", "content-range", total, header=True)
    if partial:
        yield Sign("range", "status", 206)
    for name, text in headers.items():
        kind = _kind(name)
        if kind is None and "pagination" not in name:
            continue
        if text.lstrip().startswith("{"):
            yield from _of_json_header(name, text, echo)
        elif kind is not None:
            yield from _sign(kind, name, text, echo, header=True)


def _of_json_header(name: str, text: str, echo: set[str]) -> Iterator[Sign]:
    import orjson

    try:
        inner = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    for sign in _of_mapping(inner, "", echo, known=True) if isinstance(inner, dict) else ():
        yield Sign(sign.kind, f"{name} ({sign.at})", sign.value, True, sign.least, sign.raw)


# Bodies ----------------------------------------------------------------------------------------------------


def around(path: str) -> list[str]:
    """The places beside a list and above it, innermost first, as prefixes of paths: `data.issues.`, `data.`, ``."""
    parts = path.split(".")[:-1] if path else []
    return [".".join(parts[:end]) + "." if end else "" for end in range(len(parts), -1, -1)]


def _of_body(body: Any, path: str, echo: set[str]) -> Iterator[Sign]:
    if isinstance(body, list) and path:  # such as [{"page": 1, "pages": 7}, […]]
        for n, part in enumerate(body[:3]):
            if isinstance(part, Mapping):
                yield from _of_mapping(part, f"{n}.", echo, known=True, depth=2)
    if not isinstance(body, Mapping):
        return
    if path in body:  # a key that has dots itself
        yield from _of_mapping(body, "", echo, known=True, depth=2)
        return
    way = set(around(path))
    for place in around(path):
        node = at(body, place.rstrip(".")) if place else body
        if isinstance(node, Mapping):
            yield from _of_mapping(node, place, echo, known=True, depth=3, way=way)


def _of_mapping(
    node: Mapping[str, Any],
    place: str,
    echo: set[str],
    known: bool,
    depth: int = 0,
    way: set[str] | None = None,
) -> Iterator[Sign]:
    for name, value in node.items():
        where = f"{place}{name}"
        if isinstance(value, list):
            if (target := _linked(name, value)) is not None:
                yield Sign("next", f"{where}[{target[0]}=next].{target[1]}", target[2])
            elif _one_link(value) and _kind(name) == "next":
                for inner, address in value[0].items():
                    if inner.lower() in _ADDRESSES and address:
                        yield Sign("next", f"{where}.0.{inner}", address)
            continue
        kind = _kind(name)
        if isinstance(value, Mapping):
            if kind == "total" and whole(value.get("value")) is not None:  # a search engine's hits.total
                yield Sign(
                    "total", f"{where}.value", whole(value["value"]), least=value.get("relation") == "gte"
                )
            elif depth and f"{where}." not in (way or ()) and not _is_list(value):
                inner = list(
                    _of_mapping(value, f"{where}.", echo, kind == "total" or container(name), depth - 1)
                )
                yield from inner
                if kind == "next" and not inner and value and not _relation(name, value):
                    yield Sign("next", where, value)
            elif kind == "next" and value:
                yield Sign("next", where, value)
            continue
        if kind is None or not (known or _plain(name, kind)):
            continue
        yield from _sign(kind, where, value, echo, fellow=_ends(node))


def _relation(name: str, value: Mapping[str, Any]) -> bool:
    """A link's object without an address, such as `next: {href: null}`; or a cursor section that is spent."""
    return all(inner in (None, "", False) for inner in value.values()) or name.lower() in (
        "cursor",
        "cursors",
    )


def _ends(node: Mapping[str, Any]) -> bool:
    """Whether the mapping holds the tokens of both of a page's ends: they are there on the last page too."""
    return "before" in node and "after" in node


def _is_list(node: Mapping[str, Any]) -> bool:
    """Whether this is another list with paging of its own."""
    return any(
        isinstance(v, list) and v and isinstance(v[0], Mapping) and _linked(k, v) is None and not _one_link(v)
        for k, v in node.items()
    )


def _one_link(items: list[Any]) -> bool:
    """Whether the list is a relation's one address, as in `{next: [{href: …}]}`."""
    return (
        len(items) == 1 and isinstance(items[0], Mapping) and bool(_ADDRESSES & {*map(str.lower, items[0])})
    )


def links(name: str, items: list[Any]) -> bool:
    """Whether the list is one of links, and not of items."""
    relations = [isinstance(item, Mapping) and ("rel" in item or "relation" in item) for item in items]
    return all(relations) if relations else name.lower().strip("_") in ("link", "links")


def _linked(name: str, items: list[Any]) -> tuple[str, str, Any] | None:
    """Of links such as `[{rel: next, href: …}]` the key of the relation, that of the address, and the address."""
    relations: frozenset[str] | None = None
    for item in items[:50]:
        if not isinstance(item, dict | Mapping):  # dict first: an abstract class is slow to ask
            return None
        if relations is None:
            relations = _OF_LINKS if name.lower().strip("_") in ("link", "links") else _RELATIONS
            if relations.isdisjoint(key.lower() for key in item):
                return None
        for rel, said in item.items():
            told = said if isinstance(said, list) else [said]
            if rel.lower() in relations and any(str(one).lower() == "next" for one in told):
                for key, address in item.items():
                    if key.lower() in _ADDRESSES and address:
                        return rel, key, address
    return None


def _sign(
    kind: Kind, where: str, value: Any, echo: set[str], header: bool = False, fellow: bool = False
) -> Iterator[Sign]:
    if kind in ("total", "pages"):
        number = whole(value)
        if number is not None:
            yield Sign(kind, where, number, header)
    elif kind == "flag":
        says = flag(value)
        if says is not None:
            ends = words_of(where.rpartition(".")[2]) in _END_NAMES
            yield Sign("flag", where, says != ends, header, raw=value)
    elif is_next(value) and str(value) not in echo and not fellow:
        if words_of(where.rpartition(".")[2]) == ("page",) and whole(value) is not None:
            return  # the number of this page
        yield Sign("next", where, value, header)


def is_next(value: Any) -> bool:
    """Whether a token leads anywhere; 0, -1, false and the empty text are ends."""
    return (
        value not in (None, "", 0, -1, "0", "-1", "null", "none", "None", "false", "False")
        and value is not False
        and value is not True
    )


@lru_cache(maxsize=4096)
def _kind(name: str) -> Kind | None:
    words = words_of(name)
    bare = tuple(word for word in words if word != "x")
    if not bare or len(bare) > 6:
        return None
    if bare in _END_NAMES:
        return "flag"
    tells = not {"more", "truncated", "incomplete", "additional", "exceeded"}.isdisjoint(bare)
    if (tells or {"has", "next"} <= {*bare}) and {*bare} <= _MORE_WORDS:
        return "flag"
    if {"pages"} & {*bare} and {*bare} <= {
        "pages",
        "total",
        "page",
        "count",
        "num",
        "nb",
        "number",
        "of",
        "wp",
    }:
        return "pages"
    if bare in (
        ("page", "count"),
        ("last", "page"),
        ("total", "page"),
        ("max", "page"),
        ("wp", "totalpages"),
        ("totalpages",),
    ):
        return "pages"
    if bare in _TOTALS or ("total" in bare and {*bare} <= _COUNTED):
        return "total"
    if bare == ("last", "evaluated", "key") or bare == ("page",):
        return "next"
    if (
        {*bare} & _TOKENS
        and {*bare} <= _TOKENS | _BESIDE
        and not ({*bare} & _NOT_NEXT)
        and bare[:1] != ("start",)
    ):
        return "next" if bare != ("link",) else None
    return None


@lru_cache(maxsize=4096)
def _plain(name: str, kind: Kind) -> bool:
    """Whether the name can mean nothing else, wherever it stands."""
    words = {*words_of(name)}
    return (
        kind == "flag"
        and "more" in words | ({"more"} if {"has", "next"} <= words else set())
        or (
            kind == "next"
            and "next" in words
            and bool(words & {"token", "cursor", "url", "link", "uri", "page"})
        )
    )


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a key or header in lower case, without the prefix of a namespace: `hydra:nextPage` is next, page."""
    return tuple(word.lower() for word in _WORD.findall(name.rpartition(":")[2].lstrip("@_$")))


@lru_cache(maxsize=4096)
def container(name: str) -> bool:
    """Whether an object of this name is one where paging stands."""
    return not _CONTAINERS.isdisjoint(words_of(name))
