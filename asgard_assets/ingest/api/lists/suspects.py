"""What else in a first answer could speak of more, under a name that `signs` does not know. Pure, no I/O.

Only `auto` asks, and only where it would say that a list has but one page: it then refuses, and names what it saw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from asgard_assets.ingest.api.lists.complete import looks_like_address
from asgard_assets.ingest.api.lists.signs import Sign, container, is_next, words_of
from asgard_assets.ingest.api.source.paths import flag, whole

_DEEP = 4
_LEADING = re.compile(r"^\D{0,12}?(?:\d+\s*(?:-|to|of|/)\s*)*(\d[\d,]*)\b")
_RANGE = re.compile(r"(\d+)\s*(?:-|to|bis)\s*(\d+)\s*(?:/|of|von)\s*(\d[\d,]*|\*)", re.IGNORECASE)
_OPAQUE = re.compile(r"^(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/_=\-:.|~,]{6,}$|^[A-Za-z0-9+/_-]{8,}={1,2}$")
_DATE = re.compile(r"^\d{4}-\d{2}(-\d{2})?|^[A-Z][a-z]{2}, \d{2} |^\d{4}$")

_LEADS = tuple(
    "next nxt token cursor marker bookmark continu resum scroll iterator anchor checkpoint follow forward after "
    "older startkey skiptoken pagestate pagingstate".split()
)
_PAIRS = tuple(
    frozenset(pair.split())
    for pair in (
        "last id;last key;last seen;last item;last row;last record;max id;min id;since id;until id;start key;start id;"
        "page state;paging state;pagination key;paging key;resume from;load more;more url;more link;more href;from id;"
        "row key;starting at;seek key;last value;last sort;sort key"
    ).split(";")
)
_OTHER = frozenset(
    "prev previous first self current this before sync delta auth access csrf xsrf session refresh bearer api "
    "nextjs request trace user device password expires update updates updated refreshed retry due payment "
    "invoice run release poll reset schedule scheduled".split()
)
_COUNTS = frozenset(
    "total totals count counts found matched matches hits nb num remaining left available rest pages "
    "results records rows items elements entries anzahl gesamt nombre cantidad aantal antal".split()
)
_PAGES = frozenset("page pages pg pgs last of".split())
_LEFT = frozenset("remaining left rest".split())
_NO_COUNTS = frozenset(
    "id ids time timestamp ts ms milliseconds seconds sec took duration elapsed bytes size version status code limit per rate quota "
    "credits requests calls price amount sum cost value revenue tax year month day date hour balance score weight "
    "units failed errors warnings skipped ignored deleted cached ratelimit".split()
)
_GOES_ON = frozenset(
    "more next truncated incomplete partial limited exceeded additional remaining left continue continues "
    "clipped capped overflow cut limit".split()
)
_ENDS = frozenset("last final finished done end ended eof complete completed exhausted all loaded".split())
_NO_TOKENS = frozenset(
    "request trace correlation etag hash checksum version revision build commit server host sha md5 signature uuid api schema "
    "region locale currency language node session user account org organization organisation customer tenant project "
    "status message name title description kind type object code date time at generated model etag id urn namespace "
    "self first prev previous current before auth csrf color colour query sort order filter unit units license licence "
    "copyright source environment env contact email phone format media charset seed start".split()
)
_NOT_OF_AN_ITEM = frozenset(
    "count total size limit date time latest newest modified updated generated at max min avg mean highest lowest top".split()
)
_STANDARD = frozenset(
    "date server etag last-modified expires age vary via connection keep-alive transfer-encoding set-cookie cache-control "
    "pragma location retry-after allow www-authenticate accept-ranges content-type content-length content-encoding "
    "content-language content-disposition content-location content-range alt-svc nel report-to server-timing link".split()
)
_NOT_OF_PAGES = frozenset(
    "ratelimit rate limit quota request trace correlation amz amzn cf csrf auth cache".split()
)
_NOT_ONWARDS = frozenset(
    "self first prev previous current canonical start alternate up download export csv json html edit create search "
    "filter template docs documentation help id".split()
)


@dataclass(frozen=True)
class Answer:
    """A first answer, and what was asked for."""

    url: str
    headers: Mapping[str, str]
    body: Any
    path: str
    items: list[Any]
    query: Mapping[str, str]


def suspect(answer: Answer, ignored: tuple[str, ...] = ()) -> Sign | None:
    """The first thing that looks like more, in the body or in a header; None where there is nothing."""
    skip = {name.lower() for name in ignored}
    return next((sign for sign in _found(answer) if sign.at.lower() not in skip), None)


def _found(answer: Answer) -> Iterator[Sign]:
    if not answer.items:
        return
    yield from _of_headers(answer)
    echo = {str(value) for value in answer.query.values()}
    for where, rel, value, beside in _scalars(answer.body, answer.path):
        yield from _of_address(answer, where, rel, value)
        name = where.rpartition(".")[2]
        if str(value) not in echo or isinstance(value, bool):
            yield from _of_name(where, name, value, len(answer.items), beside)
        if beside and str(value) not in echo and _looks_full(len(answer.items)):
            yield from _of_value(where, name, value, answer.items)


def _scalars(body: Any, path: str) -> Iterator[tuple[str, frozenset[str], Any, bool]]:
    """Values outside of the list: where, the words of their names and relations, the value, whether it stands where paging does."""
    ways = {path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)} | {""}

    def walk(
        node: Mapping[str, Any], place: str, words: frozenset[str], beside: bool, depth: int
    ) -> Iterator[Any]:
        relations = frozenset(
            word for key in ("rel", "relation", "type", "name") for word in words_of(str(node.get(key, "")))
        )
        for name, value in node.items():
            where = f"{place}{name}"
            named = words | relations | frozenset(words_of(name))
            if where == path:
                continue
            if isinstance(value, Mapping):
                if depth:
                    inside = where in ways or (beside and (container(name) or words_of(name) == ("total",)))
                    yield from walk(value, f"{where}.", named, inside, depth - 1)
            elif isinstance(value, list):
                for n, element in enumerate(value[:20]) if depth else ():
                    if isinstance(element, Mapping) and len(value) <= 20:
                        yield from walk(element, f"{where}.{n}.", named, False, 0)
            elif value is not None:
                yield where, named, value, beside

    if isinstance(body, Mapping):
        yield from walk(body, "", frozenset(), True, _DEEP)
    elif path and isinstance(body, list):  # such as [{"page": 1, "pages": 7}, […]]
        for n, element in enumerate(body[:3]):
            if isinstance(element, Mapping):
                yield from walk(element, f"{n}.", frozenset(), True, _DEEP)


def _of_address(answer: Answer, where: str, words: frozenset[str], value: Any) -> Iterator[Sign]:
    """An address of the same list with other parameters."""
    if not isinstance(value, str) or not looks_like_address(value) or words & _NOT_ONWARDS:
        return
    try:
        here, there = urlsplit(answer.url), urlsplit(urljoin(answer.url, value))
    except ValueError:
        return
    asked, told = dict(parse_qsl(here.query)), dict(parse_qsl(there.query))
    others = {text for name, text in told.items() if asked.get(name) != text}
    if here.path == there.path and others - {"0", "1"}:
        yield Sign("next", where, value)


def _of_name(
    where: str, name: str, value: Any, items: int, beside: bool, header: bool = False
) -> Iterator[Sign]:
    words = frozenset(words_of(name))
    if words & _OTHER or ("start" in words and words & {"cursor", "token"}):
        return
    says = flag(value) if isinstance(value, bool) or (isinstance(value, str) and value) else None
    if says is not None and not str(value).isdigit():
        if (says and words & _GOES_ON) or (not says and words & _ENDS):
            yield Sign("flag", where, True, header, raw=value)
    elif _leads(words, beside) and is_next(value):
        yield Sign("next", where, value, header)
    elif beside and not words & _NO_COUNTS:
        counted = words | {*words_of(where.rpartition(".")[0].rpartition(".")[2])} & {"total"}
        number = _number(value) if counted & (_COUNTS | _PAGES) else None
        least = 0 if words & _LEFT else 1 if words & _PAGES else items
        alone = words in ({"page"}, {"pg"}) or (words == {"last"} and number in (items, items - 1))
        if number is not None and number > least and not alone:
            yield Sign("total", where, number, header, raw=value)


def _leads(words: frozenset[str], beside: bool) -> bool:
    """Whether a key of these words is likely to hold a token."""
    if not beside:
        return "next" in words
    named = any(word.startswith(_LEADS) or word.endswith(("token", "cursor")) for word in words)
    return named or "more" in words or any(pair <= words for pair in _PAIRS)


def _number(value: Any) -> int | None:
    """A number, also the first one of a text such as `250 items`, and of `1 of 5` or `1-50/250` the last."""
    number = whole(value)
    if number is None and isinstance(value, str) and not _DATE.match(value):
        found = _LEADING.match(value)
        number = whole(found[1]) if found else None
    return number


def _of_value(where: str, name: str, value: Any, items: list[Any]) -> Iterator[Sign]:
    """A token by its value: it is the last item's own, or it is no word."""
    words, last, first = frozenset(words_of(name)), items[-1], items[0]
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        return
    both = [{str(v) for v in item.values()} if isinstance(item, Mapping) else set() for item in (last, first)]
    if str(value) in both[0] - both[1] and not words & _NOT_OF_AN_ITEM:
        yield Sign("next", where, value)
    elif (
        isinstance(value, str)
        and _OPAQUE.match(value)
        and not _DATE.match(value)
        and not words & (_NO_TOKENS | _OTHER)
    ):
        yield Sign("next", where, value)


def _looks_full(items: int) -> bool:
    """Whether so many items are likely to be a page, and not the whole list."""
    return items >= 5 and (items % 5 == 0 or items % 12 == 0 or items & (items - 1) == 0)


def _of_headers(answer: Answer) -> Iterator[Sign]:
    items = len(answer.items)
    for name, text in answer.headers.items():
        low, words = name.lower(), frozenset(words_of(name))
        if low in _STANDARD and low != "content-range":
            continue
        if "range" in words and (told := _RANGE.search(text)):
            if told[3] == "*" or (whole(told[3]) or 0) > items:
                yield Sign("range", low, text, header=True)
        elif low == "content-range" or words & _NOT_OF_PAGES:
            continue
        elif words & {"link", "links"} and re.search(r"rel\s*=\s*[\"']?[^;,]*\bnext\b", text, re.IGNORECASE):
            yield Sign("next", low, text, header=True)
        else:
            yield from _of_address(answer, low, words, text)
            yield from _of_name(low, low, text, items, True, header=True)


__all__ = ["Answer", "suspect"]
