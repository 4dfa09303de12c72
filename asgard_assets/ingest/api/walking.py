"""The pull form of a task: one walk a day, its items to rows, and a walk state whenever rows have reached a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.plan.rendering import fingerprint, page_id
from asgard_assets.ingest.api.plan.walk_state import WalkState, read_walk, write_walk
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.table.bronze import PERMANENT, SUCCESS, Results
from asgard_assets.ingest.api.table.exchange import Exchange
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.lake import DS

if TYPE_CHECKING:
    from asgard_assets.ingest.api.job import Job

Send = Callable[[str, str, dict[str, Any], Page], Awaitable[Exchange]]
"""Day, request id, row and page to what became of the request."""
Add = Callable[[str, Exchange, dict[str, Any]], Awaitable[None]]
"""Day, exchange and the row's own columns to a row of the table."""


class Walking:
    """Walks lists. Rows go to `add` in the order of the list; `figures` are told where each walk ended."""

    def __init__(
        self, job: Job, figures: Figures, files: Results, content: Content, redactor: Redactor,
        send: Send, add: Add,
    ):  # fmt: skip
        self._job, self._figures, self._files = job, figures, files
        self._content, self._redactor, self._send, self._add = content, redactor, send, add
        self._common = fingerprint(job.source)
        # A part of the list, of whatever length, is no place to go on from.
        self._marks = job.limit is None and job.pages is None and job.source.rows is None

    async def walk(self, day: str, row_key: str, row: dict[str, Any]) -> None:
        """Walk the list of one day or of one parent row; a day's from the last walk state on where there is one."""
        job, form = self._job, self._job.source.form
        assert isinstance(form, PullForm)
        # With parents, a limit is one of these.
        parent = {name: row[name] for name in form.rows.key} if form.rows else {}
        walk = Walk(form, None if form.rows else job.limit, job.pages)
        page: Page | None = walk.first
        mark = await asyncio.to_thread(read_walk, job.lake, job.staging_path, day) if self._marks else None
        if mark is not None:
            page = mark.resume(walk)
        files, marked = list(mark.files if mark else ()), 0
        while page is not None:
            exchange = await self._send(day, page_id(self._common, day, page, row_key), row, page)
            items, after = None, None
            if exchange.empty:
                items = []
            elif exchange.outcome == SUCCESS:
                try:
                    items, after = walk.read(
                        page,
                        exchange.url or exchange.request.url,
                        exchange.headers,
                        exchange.body,
                        exchange.parsed,
                        exchange.status or 200,
                        exchange.request.method,
                    )
                except MalformedPage as error:
                    exchange.failed(PERMANENT, error)
            if items is None and mark is not None and exchange.outcome == PERMANENT:
                # The API does not know the place any more: the walk begins anew, without what was taken over.
                mark, files, walk = None, [], Walk(form)
                page = walk.first
                continue
            self._took_over(day, mark)
            mark = None
            try:
                if exchange.empty:
                    walk.ended(page)
                elif items is None and walk.past_the_end(page, exchange.status):
                    items = []
            except MalformedPage as error:
                exchange.failed(PERMANENT, error)
                items = None
            if items is None:
                failed = parent | {"row_key": row_key, "body": exchange.text, "item_index": -1}
                await self._add(day, exchange, failed)
                return
            for index, item in enumerate(items):
                place = parent | {"row_key": row_key, "item_index": index}
                await self._add(day, exchange, self._content.of_item(item) | place)
            page = after
            if self._marks and (page is None or len(self._written(day)) > marked):
                marked = await self._mark(day, walk, page, files)
        self._took_over(day, mark)
        # Only of a whole walk: one that broke off goes on where it began.
        self._figures.cursors[day] = walk.cursor
        self._figures.pagination = self._figures.pagination or walk.found
        self._figures.notes += walk.notes

    def _took_over(self, day: str, mark: WalkState | None) -> None:
        if mark is not None:
            self._figures.files += mark.files
            self._figures.count(day, SUCCESS, mark.rows)

    def _written(self, day: str) -> list[str]:
        return [name for name in self._files.written if name.startswith(f"{DS}={day}/")]

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
