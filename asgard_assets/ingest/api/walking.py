"""The pull form of a task: one walk a day, its items to rows, and a walk state whenever rows have reached a file."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.http.decoding import Oversized, Undecodable
from asgard_assets.ingest.api.http.streams import items_of
from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.lists.jobs import CLEAN_UP, CONTROL, CREATE, DOWNLOAD, JobFailed, NotReady
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, stored
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.plan.rendering import fingerprint, page_id
from asgard_assets.ingest.api.plan.walk_state import WalkState, read_walk, write_walk
from asgard_assets.ingest.api.rate.lease import Clock, Sleep
from asgard_assets.ingest.api.rate.quota import retry_after
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.table.bronze import PERMANENT, RETRYABLE, SUCCESS, Results
from asgard_assets.ingest.api.table.exchange import Exchange
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.lake.staging import partition_folder

if TYPE_CHECKING:
    from asgard_assets.ingest.api.job import Job

Send = Callable[..., Awaitable[Exchange]]
"""Day, request id, row, page and (of a parent that has one) None and its cursor to what became of the request."""
Add = Callable[[str, Exchange, dict[str, Any]], Awaitable[None]]
"""Day, exchange and the row's own columns to a row of the table."""
AddItems = Callable[[str, Exchange, Iterable[dict[str, Any]]], Awaitable[None]]
"""The same of many rows, which are an answer's items."""


_PART_ITEMS = 500
_EMPTY_404 = "the list answered 404. If that means that a day has nothing: answers: {rules: [{status: 404, means: empty}]}"


class Walking:
    """Walks lists. Rows go to `add` in the order of the list; `figures` are told where each walk ended."""

    def __init__(
        self, job: Job, figures: Figures, files: Results, content: Content, redactor: Redactor,
        send: Send, add: Add, add_items: AddItems, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep,
    ):  # fmt: skip
        self._job, self._figures, self._files = job, figures, files
        self._content, self._redactor, self._send, self._add = content, redactor, send, add
        self._add_items = add_items
        self._clock, self._sleep = clock, sleep
        self._common = fingerprint(job.source)
        # A part of the list, of whatever length, is no place to go on from.
        self._marks = job.limit is None and job.pages is None and job.source.rows is None
        self._notes = job.pages is None and job.source.rows is not None

    async def walk(self, day: str, row_key: str, row: dict[str, Any], known: str | None = None) -> None:
        """Walk the list of one day or of one parent row, from the last walk state on where there is one.

        `known`: of a parent, its cursor and how far an earlier run got, as JSON.
        """
        job, form = self._job, self._job.source.form
        told = json.loads(known) if known and self._notes else {}
        start = told.get("cursor")
        own = (None, start) if "cursor" in told else ()
        assert isinstance(form, PullForm)
        # With parents, a limit is one of these.
        parent = {name: row[name] for name in form.rows.shown} if form.rows else {}
        walk = Walk(form, None if form.rows else job.limit, job.pages, began=self._before(day))
        page: Page | None = self._first(day, walk)
        mark = await asyncio.to_thread(read_walk, job.lake, job.staging_path, day) if self._marks else None
        if "walk" in told:
            mark = WalkState(**told["walk"])
        if mark is not None:
            page = mark.resume(walk)
        files, marked, made = list(mark.files if mark else ()), 0, 0
        last = page
        while page is not None:
            last = page
            if page.step == CREATE:  # another run, or a walk that begins anew, makes another job
                made += 1
                page = replace(page, job={"run": f"{job.run_id} {made}"})
            exchange, items, after = await self._page(
                walk,
                page,
                lambda page=page: self._send(day, page_id(self._common, day, page, row_key), row, page, *own),
            )
            if items is None and mark is not None and exchange.outcome == PERMANENT:
                # The API does not know the place any more: the walk begins anew, without what was taken over.
                mark, files, walk = None, [], Walk(form)
                page = self._first(day, walk)
                continue
            self._took_over(day, mark)
            mark = None
            items = _closed(walk, page, exchange, items)
            rows = len(items or ())
            if exchange.spooled and items is not None:
                rows = await self._parts(day, exchange, walk, parent | {"row_key": row_key})
                items, after = (None, None) if exchange.outcome != SUCCESS else ([], walk.after_parts(page))
            if items is None:
                if exchange.status == 404 and page.number == 0 and form.rows is None:
                    self._figures.notes.append(_EMPTY_404)
                if exchange.error_class == JobFailed.__name__ and self._marks:
                    await self._mark(day, Walk(form), Walk(form).first, [])  # the next run makes another job
                failed = parent | {"row_key": row_key, "body": exchange.text, "item_index": -1}
                await self._add(day, exchange, failed)
                return
            await self._add_items(day, exchange, self._rows(items, 0, parent | {"row_key": row_key}))
            if self._notes:
                self._note(day, row_key, walk, page, after, exchange, rows, start)
            control, page = page.step in CONTROL, after
            if self._marks and (page is None or control or len(self._written(day)) > marked):
                marked = await self._mark(day, walk, page, files)
        self._took_over(day, mark)
        if form.job and form.job.clean_up and last is not None and last.step == DOWNLOAD:
            await self._clean_up(day, row_key, row, last)
        # Only of a whole walk: one that broke off goes on where it began.
        if form.rows is None:
            self._figures.cursors[day] = walk.cursor
        self._figures.pagination = self._figures.pagination or walk.found
        self._figures.notes += walk.notes

    def _rows(self, items: Iterable[Any], first: int, place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The own columns of each item; `first` is the place of the first one in the list."""
        of_item = self._content.of_item
        for index, item in enumerate(items, first):
            row = of_item(item)
            row.update(place)
            row["item_index"] = index
            yield row

    def _first(self, day: str, walk: Walk) -> Page | None:
        """The first page; of a list that goes on at an address, that."""
        how, form, cursor = self._job.source.incremental, self._job.source.form, self._job.cursors.get(day)
        if how and how.address and cursor and isinstance(form, PullForm) and form.rows is None:
            return stored(str(cursor), self._job.base_url, form.same_origin)
        return walk.first

    def _before(self, day: str) -> Any:
        """The cursor that the last run left, where it is asked from without an overlap."""
        how, cursor = self._job.source.incremental, self._job.cursors.get(day)
        exact = how and not self._job.overlap_seconds and cursor != how.start
        return cursor if exact and self._job.source.rows is None else None

    async def _page(
        self, walk: Walk, page: Page, send: Callable[[], Awaitable[Exchange]]
    ) -> tuple[Exchange, list[Any] | None, Page | None]:
        """Ask for a page until it is there; its items, None where it failed, and the next page."""
        form, wait = self._job.source.form, None
        poll = form.job.poll if isinstance(form, PullForm) and form.job else None
        deadline = self._clock() + (poll.deadline_seconds if poll else 0)
        while True:
            exchange = await send()
            if exchange.empty and page.step not in CONTROL:
                return exchange, [], None
            if exchange.outcome != SUCCESS:
                return exchange, None, None
            if exchange.spooled:
                return exchange, [], None  # `_parts` reads it
            try:
                items, after = walk.read(
                    page, exchange.url or exchange.request.url, exchange.headers, exchange.body,
                    exchange.parsed, exchange.status or 200, exchange.request.method,
                )  # fmt: skip
                return exchange, items, after
            except JobFailed as error:
                exchange.failed(RETRYABLE, error)
                return exchange, None, None
            except MalformedPage as error:
                exchange.failed(PERMANENT, error)
                return exchange, None, None
            except NotReady as going:
                assert poll is not None
                wait = poll.every_seconds if wait is None else min(poll.max_seconds, wait * 1.5)
                asked = retry_after(exchange.headers, time.time)
                pause = wait if asked is None else asked
                if self._clock() + pause > deadline:
                    said = f"the job is `{going.state}` after {poll.deadline_seconds:g} s"
                    exchange.failed(RETRYABLE, MalformedPage(f"{said} (form.job.poll.deadline_seconds)"))
                    return exchange, None, None
                await self._sleep(pause)

    async def _parts(self, day: str, exchange: Exchange, walk: Walk, place: dict[str, Any]) -> int:
        """Read a body of any size from its file; gives back how many rows were added. What is wrong with it is
        said in the exchange.
        """
        source, rows, file = self._job.source, 0, exchange.request.trace.spool
        assert isinstance(source.form, PullForm) and file is not None
        found = items_of(
            file,
            exchange.headers,
            source.form.decode,
            walk.path or "",
            source.sink.max_body_bytes,
            absent=source.form.absent == "empty",
        )
        try:
            while part := await asyncio.to_thread(lambda: list(islice(found, _PART_ITEMS))):
                kept = walk.of_part(part)
                await self._add_items(day, exchange, self._rows(kept, rows, place))
                rows += len(kept)
                if len(kept) < len(part):
                    break
        except (Undecodable, Oversized, MalformedPage) as error:
            exchange.failed(PERMANENT, error)
        finally:
            file.close()
        return rows

    async def _clean_up(self, day: str, row_key: str, row: dict[str, Any], last: Page) -> None:
        page = Page(last.number + 1, step=CLEAN_UP, job=last.job)
        exchange = await self._send(day, page_id(self._common, day, page, row_key), row, page)
        if exchange.outcome != SUCCESS:
            self._figures.notes.append(f"form.job.clean_up failed: {exchange.error_message}")

    def _note(
        self, day: str, row_key: str, walk: Walk, page: Page, after: Page | None, exchange: Exchange, rows: int,
        start: Any,
    ) -> None:  # fmt: skip
        """Note that all of a parent's page is in the table's rows, and what comes next."""
        # A list that is read a second time has no place to go on from.
        again = after is not None and after.number <= page.number
        note = {
            "row_key": row_key, "first": page.number, "last": page.number, "ids": [exchange.request.id],
            "rows": rows, "state": None if again else asdict(WalkState.of(walk, after, start, (), 0)),
        }  # fmt: skip
        told = json.dumps(note)
        if self._redactor.text(told) == told:
            self._files.note(day, note)

    def _took_over(self, day: str, mark: WalkState | None) -> None:
        if mark is not None:
            self._figures.files += mark.files
            self._figures.count(day, SUCCESS, mark.rows)

    def _written(self, day: str) -> list[str]:
        folder = partition_folder(day, self._job.source.second)
        return [name for name in self._files.written if name.startswith(f"{folder}/")]

    async def _mark(self, day: str, walk: Walk, page: Page | None, files: list[str]) -> int:
        """Write what waits and then the walk state; gives back how many files it names of this task."""
        await self._files.flush(day)
        written = self._written(day)
        rows = self._figures.outcomes.get(day, {}).get(SUCCESS, 0)
        mark = WalkState.of(walk, page, self._job.cursors.get(day), [*files, *written], rows)
        told = json.dumps(asdict(mark))
        if self._redactor.text(told) == told:  # else the next page's address has a secret in it
            await asyncio.to_thread(write_walk, self._job.lake, self._job.staging_path, day, mark)
        return len(written)


def _closed(walk: Walk, page: Page, exchange: Exchange, items: list[Any] | None) -> list[Any] | None:
    """The page's items, where an answer says by its status that the list ends; None where the page failed."""
    try:
        if exchange.empty and page.step not in CONTROL:
            walk.ended(page)
        elif items is None and walk.past_the_end(page, exchange.status):
            return []
    except MalformedPage as error:
        exchange.failed(PERMANENT, error)
        return None
    return items
