"""The walk through one partition's pages: what a page holds, what comes after it, where its cursor ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from asgard_assets.ingest.api.http.decoding import Undecodable, decode
from asgard_assets.ingest.api.lists.complete import how, says_more, unread, window
from asgard_assets.ingest.api.lists.detection import detect, find_items, shown
from asgard_assets.ingest.api.lists.items import MAP_KEY, is_map, items_at
from asgard_assets.ingest.api.lists.jobs import CREATE, DOWNLOAD, POLL, created, downloaded, polled
from asgard_assets.ingest.api.lists.pagination import (
    MalformedPage,
    Page,
    Seen,
    count_of,
    first,
    following,
)
from asgard_assets.ingest.api.lists.signs import Sign, around, full_page, signs
from asgard_assets.ingest.api.lists.suspects import Answer, suspect
from asgard_assets.ingest.api.source.forms import (
    AutoPagination,
    CursorPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    PullForm,
)
from asgard_assets.ingest.api.source.paths import at, has, whole
from asgard_assets.ingest.api.values import exact
from asgard_assets.ingest.api.values.cursors import ahead, counted_in, later, moment_of
from asgard_assets.ingest.api.values.exact import plain

_PAST_THE_END = frozenset({404, 416})
_NO_SUCH_PAGE = frozenset({400, 404, 410, 416, 422})


@dataclass
class _Sight:
    """What the pages so far have shown."""

    honoured: bool = False
    count: int | None = None
    total: Sign | None = None
    largest: int = 0
    came: int = 0
    empty: int = 0
    short: bool = False
    led: bool = False  # the declared key was in some answer
    pages: set[int] = field(default_factory=set)
    before: int | None = None
    keys: frozenset[str] = frozenset()  # of the last page, and of the one before it
    known: frozenset[str] = frozenset()
    signs: list[Sign] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    last: Any = None
    repeats: int = 0  # items that the page before had too
    joint: bool = False  # a list without a key whose second page begins with the first one's last item
    totals: set[int] = field(default_factory=set)
    counted: int | None = None  # the total as the first page says it


class Walk:
    """Pages of one partition, in order. `pagination` is what was declared, or found on the first page.

    `began` is the cursor of the run before, where it was sent just so: the walk notes where the API filters after it.
    `path` is where a page's items are; None until it is found. `cursor` is the incremental cursor after the pages read so far; None where none was seen. `notes` are what a reader should know of a walk that ended.
    """

    def __init__(
        self,
        form: PullForm,
        limit: int | None = None,
        pages: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        began: Any = None,
    ):
        self._began, self._came_back = began, False
        self._now = now
        self._form, self._limit, self._pages = form, limit, pages
        self.pagination = form.pagination
        self.items = 0
        self.notes: list[str] = []
        self._read: set[str] = set()
        self._sight = _Sight()
        self._twice = False
        self._suspect: Sign | None = None  # what else in the first answer looked like more
        self.cursor: Any = None
        self.path: str | None = form.items or (None if isinstance(form.pagination, AutoPagination) else "")

    @property
    def first(self) -> Page:
        return Page(step=CREATE) if self._form.job is not None else first(self.pagination)

    def read(
        self,
        page: Page,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        parsed: Any = None,
        status: int = 200,
        method: str = "GET",
    ) -> tuple[list[Any], Page | None]:
        """The page's items, and the next page. `parsed`: the body's value, where it is known.

        Raises MalformedPage, also where the walk would end too early.
        """
        form, sight = self._form, self._sight
        if form.job is not None and page.step == CREATE:
            return [], created(form.job, page, url, headers, body)
        if form.job is not None and page.step == POLL:
            return [], polled(form.job, page, url, status, body)
        if parsed is None:
            try:
                parsed = decode(headers, body, form.decode)
            except Undecodable as error:
                raise MalformedPage(error.message) from error
        if self.path is None:
            self.path = find_items(parsed)
        items = self._items(parsed, self.path)
        if page.step == DOWNLOAD:
            return self._of_file(page, parsed, items)
        sight.sent = {**dict(parse_qsl(urlsplit(url).query)), **page.query, **page.body}
        if isinstance(self.pagination, AutoPagination):
            self.pagination = detect(
                url, headers, parsed, len(items), self.path, status, method, form.expect.ignore
            )
        sight.signs = signs(status, headers, parsed, self.path, sight.sent, form.expect.ignore)
        if page.number == 0 and isinstance(self._form.pagination, CursorPagination | NextUrlPagination):
            answer = Answer(url, headers, parsed, self.path, items, sight.sent)
            self._suspect = suspect(answer, form.expect.ignore)
        page, items = self._from_one(page, parsed, items)
        if self._comes_again(page, items):
            items, after = [], None
        else:
            after = self._after(page, url, headers, parsed, items)
        self._advance(parsed, items)
        if self._limit is not None and self.items + len(items) >= self._limit:
            items, after = items[: self._limit - self.items], None
            self.items += len(items)
            return items, after
        self.items += len(items)
        if after is not None and after.number == self._pages:
            return items, None
        if after is None and self._moved() and not self._twice and self._form.key:
            return items, self._again(page)
        if after is None:
            self._end(page, parsed)
        return items, after

    def of_part(self, items: list[Any]) -> list[Any]:
        """Items of a body that is read piece by piece; the limit is kept."""
        self._advance(None, items)
        left = None if self._limit is None else self._limit - self.items
        items = items if left is None else items[:left]
        self.items += len(items)
        return items

    def after_parts(self, page: Page) -> Page | None:
        """What comes after such a body."""
        full = self._limit is not None and self.items >= self._limit
        done = full or page.job.get("file", 0) + 1 == self._pages
        return None if done or page.step != DOWNLOAD else downloaded(page)

    def _of_file(self, page: Page, parsed: Any, items: list[Any]) -> tuple[list[Any], Page | None]:
        """The items of a job's file, and the next file."""
        after = downloaded(page)
        self._advance(parsed, items)
        left = None if self._limit is None else self._limit - self.items
        if left is not None and len(items) >= left:
            items, after = items[:left], None
        self.items += len(items)
        files = page.job.get("file", 0) + 1
        return items, None if files == self._pages else after

    def past_the_end(self, page: Page, status: int | None) -> bool:
        """Whether an API that refuses this page with `status` says only that the list has ended before it.

        Raises MalformedPage where what it said before speaks against that.
        """
        sight = self._sight
        if not page.number or not isinstance(self.pagination, PagePagination | OffsetPagination):
            return False
        known = _NO_SUCH_PAGE if sight.short or sight.came == 0 else _PAST_THE_END
        if status not in known or self._more(page.number, sight.signs) is True:
            return False
        self._end(Page(page.number - 1), None)
        return True

    def ended(self, page: Page) -> None:
        """The answer to `page` says by its status that nothing is there. Raises MalformedPage where there is more."""
        self._sight.signs = []
        self._end(page, None)

    @property
    def found(self) -> str:
        """What was found on the first page; empty where it was declared."""
        return shown(self.pagination) if isinstance(self._form.pagination, AutoPagination) else ""

    def _items(self, parsed: Any, path: str) -> list[Any]:
        found = items_at(self._form, parsed, path)
        if found and not self.notes and is_map(self._form, at(parsed, path), path):
            self.notes.append(
                f"`{path or 'the body'}` is an object: its values are the items, each with its name as `{MAP_KEY}`. "
                "To give that field another name: form.map_key"
            )
        return found

    # Onwards ---------------------------------------------------------------------------------------------

    def _after(
        self, page: Page, url: str, headers: Mapping[str, str], parsed: Any, items: list[Any]
    ) -> Page | None:
        form, sight, how_paged = self._form, self._sight, self.pagination
        self._look(page, parsed, headers, items)
        more = None
        if isinstance(how_paged, PagePagination | OffsetPagination):
            more = self._more(page.number + 1, sight.signs, len(items))
        seen = Seen(sight.honoured, more, sight.count)
        last = items[-1] if items else None
        after = following(how_paged, page, url, headers, parsed, len(items), last, form.same_origin, seen)
        sight.largest = max(sight.largest, len(items))
        self._read.add(_place(page) if page.url or page.query or page.body else url)
        self._read.add(_place(page))
        if after is None:
            return None
        if after.number >= form.max_pages:
            raise MalformedPage(f"the walk did not end after {form.max_pages} pages (form.max_pages)")
        sight.empty = 0 if items else sight.empty + 1
        if sight.empty >= form.max_empty_pages:
            raise MalformedPage(
                f"{sight.empty} pages in a row had no items, and the last one still names a next page; if the "
                "API has so many of them, raise form.max_empty_pages"
            )
        if _place(after) in self._read:
            own = _place(after) in (_place(page), url)
            if own and self._stands(items):
                return None
            raise MalformedPage(
                "the page names one as the next that was read before: the walk would never end"
            )
        return after

    def _look(self, page: Page, parsed: Any, headers: Mapping[str, str], items: list[Any]) -> None:
        sight, how_paged = self._sight, self.pagination
        sight.came = len(items)
        if isinstance(how_paged, PagePagination | OffsetPagination):
            sight.count = count_of(how_paged, parsed, len(items), sight.count)
            sight.honoured |= how_paged.size_param is not None and len(items) == how_paged.size
            sight.short = 0 < len(items) < how_paged.size
        elif isinstance(how_paged, CursorPagination | NextUrlPagination):
            name = how_paged.url if isinstance(how_paged, NextUrlPagination) else how_paged.cursor
            header = how_paged.header
            sight.led |= header.lower() in headers if header else has(parsed, name)
            if isinstance(how_paged, CursorPagination) and how_paged.last_item:
                sight.led = True
        totals = [s for s in sight.signs if s.kind == "total"]
        if totals and (items or sight.total is None):
            sight.total = max(totals, key=lambda s: s.value)
            sight.totals.add(sight.total.value)

    def _more(self, pages: int, found: list[Sign], coming: int = 0) -> bool | None:
        if isinstance(self.pagination, OffsetPagination) and self.pagination.total:
            count = self._sight.count
            return None if count is None else count > self.items + coming
        before = self.pagination.start - 1 if isinstance(self.pagination, PagePagination) else 0
        if isinstance(self.pagination, PagePagination) and before > 0:
            found = [sign for sign in found if sign.kind != "total"]
        return says_more(self.pagination, found, self.items + coming, pages, self._sight.came)

    def _stands(self, items: list[Any]) -> bool:
        """Whether a page that names itself as the next has nothing beyond it."""
        sight = self._sight
        if isinstance(self.pagination, CursorPagination) and not items:
            return True
        fewer = len(items) < sight.largest
        return fewer or (bool(self._form.key) and self._keys(items) <= sight.known and not _round(len(items)))

    def _from_one(self, page: Page, parsed: Any, items: list[Any]) -> tuple[Page, list[Any]]:
        """The page as an API sees it that counts its items from 1, though `start` does not say so.

        It says that itself, or its second page begins with the item that the first one ended with, while its
        total stays the same.
        """
        how_paged = self.pagination
        if not isinstance(how_paged, OffsetPagination) or how_paged.start or page.number > 1:
            return page, items
        total = self._total(parsed)
        offset = page.values.get("offset", 0)
        if page.number == 0:
            self._sight.counted = total
            said = next((at(parsed, place + how_paged.param) for place in around(self.path or "")), None)
            if offset or not (whole(said) == 1 or (not items and total)):
                return page, items
            if not items:
                offset, items = 1 - how_paged.size, []  # the next page is the first one
        elif not (len(items) > 1 and items[0] == self._sight.last and total is not None):
            return page, items
        elif total != self._sight.counted:
            return page, items
        else:
            items = items[1:]
        self.pagination = how_paged.model_copy(update={"start": 1})
        offset = offset + 1 if items else offset
        return replace(page, values={**page.values, "offset": offset}), items

    def _total(self, parsed: Any) -> int | None:
        how_paged = self.pagination
        path = how_paged.total if isinstance(how_paged, OffsetPagination) else None
        if path is not None:
            return whole(at(parsed, path))
        found = [sign.value for sign in self._sight.signs if sign.kind == "total" and not sign.least]
        return max(found, default=None)

    # The same again --------------------------------------------------------------------------------------

    def _keys(self, items: list[Any]) -> frozenset[str]:
        return frozenset(repr([at(item, path) for path in self._form.key]) for item in items)

    def _comes_again(self, page: Page, items: list[Any]) -> bool:
        """Whether the page has the items of the one before, so that the list has ended there.

        Raises MalformedPage where that means that the API does not know the parameter, or goes round.
        """
        sight, counted = self._sight, isinstance(self.pagination, PagePagination | OffsetPagination)
        if not items or not all(isinstance(item, dict) for item in items):
            return False
        keys = self._keys(items) if self._form.key else frozenset()
        if self._form.key:
            mark = hash(keys)
            again = page.number > 0 and (mark in sight.pages or (bool(sight.keys) and keys <= sight.keys))
        else:
            # In any order. One text that is cut between objects costs a fifth of a text for each item.
            mark = hash(frozenset(exact.dumps(items, sort_keys=True)[2:-2].split(b"},{")))
            if page.number == 1 and len(items) > 1 and items[0] == sight.last:
                sight.joint = len({exact.dumps(item, sort_keys=True) for item in items}) == len(items)
            again = page.number > 0 and len(items) > 1 and mark in sight.pages
        adjacent = again and (mark == sight.before or (bool(keys) and keys <= sight.keys))
        known, sight.before = sight.keys, mark
        sight.pages.add(mark)
        sight.keys, sight.known = keys, known
        if not again:
            sight.repeats += len(keys & known) if self._form.key else items[0] == sight.last
            sight.last = items[-1]
            return False
        if isinstance(self.pagination, NextUrlPagination) or (
            isinstance(self.pagination, CursorPagination) and self.pagination.last_item
        ):
            fewer = len(items) < sight.largest or not _round(len(items))
            if adjacent and self._form.key and keys <= known and fewer:
                return self._quiet(page)
        if not counted:
            if isinstance(self.pagination, CursorPagination) and _place(page) in self._read:
                return False
            raise MalformedPage(self._repeated(page))
        if not self._form.key or not adjacent or not self._quiet(page):
            raise MalformedPage(self._repeated(page))
        if page.number == 1 and (len(items) >= self._size() or _round(len(items))):
            raise MalformedPage(self._repeated(page))
        return True

    def _size(self) -> int:
        how_paged = self.pagination
        assert isinstance(how_paged, PagePagination | OffsetPagination)
        return how_paged.size if how_paged.size_param else 1

    def _quiet(self, page: Page) -> bool:
        """Whether nothing says that there is more than what was read before this page."""
        if unread(
            self.pagination, [s for s in self._sight.signs if s.kind != "next"], self.items, page.number
        ):
            return False
        return not isinstance(self.pagination, PagePagination) or self._sight.count is None

    def _repeated(self, page: Page) -> str:
        param = getattr(self.pagination, "param", "")
        said = f"; the API does not seem to know the parameter `{param}`" if param else ""
        return (
            f"page {page.number + 1} has the items of a page before it{said}. Name the right one in "
            "form.pagination; if there is but one page: form.pagination: {type: none}"
        )

    # The end ---------------------------------------------------------------------------------------------

    def _end(self, page: Page, parsed: Any) -> None:
        """Raises MalformedPage where anything says that the walk is not complete."""
        form, sight = self._form, self._sight
        self._expected(parsed)
        if not self._came_back and moment_of(self._began) and form.incremental and form.incremental.field:
            self.notes.append(
                f"no row of the cursor's own moment, {self._began}, came again: the API seems to give only rows after "
                "it, so that rows of the same moment, or written late, are lost. Say "
                "form.incremental.overlap_seconds: 60 and a key, or ask for rows from the cursor on"
            )
        if not form.expect.complete:
            return
        found, pages = [*sight.signs], page.number + 1
        if (
            isinstance(self.pagination, OffsetPagination)
            and self.pagination.total
            and sight.count is not None
        ):
            found.append(Sign("total", self.pagination.total, sight.count))
        if sight.total is not None and not any(sign.kind == "total" for sign in found):
            found.append(sight.total)
        if self._started_later():
            found = [sign for sign in found if sign.kind != "total"]
        more = unread(self.pagination, found, self.items - sight.repeats, pages)
        if more is None and page.number == 0 and isinstance(self.pagination, NoPagination):
            ended = any(s.kind == "total" and s.value == self.items or s.kind == "flag" for s in found)
            more = None if ended else full_page(sight.sent, self.items)
            more = None if more and more.at in form.expect.ignore else more
        if more is not None:
            raise MalformedPage(
                f"{more.said} and the page has {self.items} items, but how to get the next page is not plain; {how(more, sight.sent)}"
                if isinstance(self.pagination, NoPagination)
                else f"the walk ended after {pages} pages with {self.items} items, but {more.said}; "
                f"form.pagination ({shown(self.pagination)}) does not lead there: {self._way(more)}"
            )
        if sight.joint and not self._started_at_one():
            from_one = "If the API counts from 1: form.pagination: {type: offset, start: 1}. "
            raise MalformedPage(
                "the second page begins with the item that the first one ended with. "
                f"{from_one if isinstance(self.pagination, OffsetPagination) else ''}Say which fields tell items apart, "
                "and what comes twice is stored once: form.key"
            )
        told = form.expect.total is not None or sight.count is not None
        told |= any(sign.kind == "flag" and not sign.value for sign in sight.signs)
        if window(self.pagination, self.items, form.expect.window) and not told:
            raise MalformedPage(
                f"the walk ended after just {self.items} items, where many searches cut their results off. Ask for less "
                "at a time (a filter by day, say), or say form.expect: {total: PATH}; if this API has no such window: "
                "form.expect: {window: null}"
            )
        if not sight.led and isinstance(self.pagination, CursorPagination | NextUrlPagination):
            missing = getattr(self.pagination, "header", None) or (
                self.pagination.url
                if isinstance(self.pagination, NextUrlPagination)
                else self.pagination.cursor
            )
            if self._form.pagination == self.pagination:
                if self._suspect is not None:
                    raise MalformedPage(
                        f"`{missing}`, which form.pagination names, was in no answer, but {self._suspect.said}; "
                        f"{how(self._suspect, sight.sent)}"
                    )
                self.notes.append(
                    f"`{missing}`, which form.pagination names, was in no answer: all of the list was taken to be "
                    "on one page. Is the name right?"
                )

    def _way(self, more: Sign) -> str:
        if (
            self._sight.repeats
            and isinstance(self.pagination, OffsetPagination)
            and not self.pagination.start
        ):
            return (
                f"{self._sight.repeats} items came twice. If the API counts from 1: "
                "form.pagination: {type: offset, start: 1}"
            )
        return how(more, self._sight.sent)

    def _expected(self, parsed: Any) -> None:
        path = self._form.expect.total
        if path is None or self._limit is not None:
            return
        header = path.removeprefix("header:").lower() if path.startswith("header:") else None
        if header:
            told = next((s.value for s in self._sight.signs if s.header and s.at == header), None)
        else:
            told = whole(at(parsed, path))
        self._sight.count = told if told is not None else self._sight.count
        if self._sight.count is None:
            raise MalformedPage(f"form.expect.total: there is no number at `{path}` of the answer")
        if self._sight.count != self.items - self._sight.repeats:
            raise MalformedPage(
                f"`{path}` is {self._sight.count}, but the walk found {self.items - self._sight.repeats} items "
                "(form.expect.total)"
            )

    # A list that moves -----------------------------------------------------------------------------------

    def _moved(self) -> bool:
        """Whether items came or went while pages were counted, so that some may have slipped between two."""
        counted = isinstance(self.pagination, PagePagination | OffsetPagination)
        return counted and (self._sight.repeats > 0 or len(self._sight.totals) > 1)

    def _again(self, page: Page) -> Page:
        """The first page once more: what slipped between two pages comes now; the key drops what came twice."""
        self.notes.append("the list moved while it was read, so it was read twice")
        self._twice, self._sight, self._read, self.items = True, _Sight(), set(), 0
        return self.first

    def _started_at_one(self) -> bool:
        return isinstance(self.pagination, OffsetPagination) and self.pagination.start > 0

    def _started_later(self) -> bool:
        how_paged = self.pagination
        later_page = isinstance(how_paged, PagePagination) and how_paged.start > 1
        return later_page or (isinstance(how_paged, OffsetPagination) and how_paged.start > 1)

    def _advance(self, body: Any, items: list[Any]) -> None:
        how_kept = self._form.incremental
        if how_kept is None:
            return
        values = (
            [at(body, how_kept.body)] if how_kept.body else [at(item, how_kept.field or "") for item in items]
        )
        values = [plain(value) for value in values]
        now, name = self._now(), how_kept.field or ""
        unit = counted_in((*values, self.cursor, self._began), now, name) if name else None
        for value in values:
            if value is not None and not isinstance(value, str | int | float):
                raise MalformedPage(
                    f"the cursor at `{how_kept.body or how_kept.field}` is no text or number: {value!r:.60}"
                )
            if value is None:
                continue
            self._came_back = self._came_back or value == self._began
            if how_kept.body:
                self.cursor = value
            elif ahead(value, now, how_kept.future_tolerance_seconds, unit):
                self.notes = [
                    f"{value} is in the future and did not move the cursor (incremental.future_tolerance_seconds)"
                ] + [note for note in self.notes if "in the future" not in note]
            else:
                self.cursor = later(self.cursor, value)


def _round(items: int) -> bool:
    """Whether so many items look like what an API gives at most."""
    return items >= 10 and (items % 10 == 0 or items % 25 == 0 or items & (items - 1) == 0)


def _place(page: Page) -> str:
    return page.url or json.dumps([page.query, page.body], sort_keys=True)


__all__ = ["Walk", "later"]
