"""A walk that was killed goes on where it was: every item once, few pages asked for again."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest

from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.plan.resume import Left, announce, earlier_runs
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.plan.walk_state import read_walk, set_aside_broken, take_over
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.table.bronze import PERMANENT, RETRYABLE, SUCCESS, ResultFiles, arrow_schema
from asgard_assets.ingest.api.table.exchange import Exchange
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.ingest.api.walking import Walking
from asgard_assets.lake import DS, Lake, Staging
from tests.ingest.api.driver import Driver
from tests.ingest.api.sources import TICKETS, source
from tests.patience import patience

DAY = "2026-10-05"
PAGES, SIZE = 20, 3


class Killed(Exception):
    pass


def tickets(kind: str = "events", **pagination: Any) -> ApiSource:
    form = {"type": "pull", "items": "data", "pagination": pagination or {"type": "cursor"}}
    return source(TICKETS, kind=kind, form=form, execution={"flush_rows": 8})


def stage(lake: Lake, config: ApiSource) -> Staging:
    return lake.stage("bronze", "tickets", arrow_schema(config), [DAY])


def walk(
    lake: Lake, config: ApiSource, staging: Staging, label: str, **how: Any
) -> tuple[Figures, list[int]]:
    """One walk through 20 pages of 3; `dies` at that page, the API does not know `forgotten` when asked first."""
    asked: list[int] = []
    figures = Figures()
    files = ResultFiles(config, lake, staging.path, staging.schema, label)

    async def send(day: str, request_id: str, row: dict[str, Any], page: Page) -> Exchange:
        number = int(page.query.get("cursor", page.query.get("page", "1")))
        asked.append(number)
        if number == how.get("dies"):
            raise Killed
        exchange = Exchange(Request(request_id, "GET", "http://api.test/tickets"), time.time())
        exchange.status = 200
        if number == how.get("forgotten") and asked.count(number) == 1:
            exchange.failed(PERMANENT, ValueError("status 410"))
            return exchange
        if number == how.get("breaks"):
            exchange.failed(RETRYABLE, ValueError("status 503"))
            return exchange
        ids = range((number - 1) * SIZE, number * SIZE)
        body = {
            "data": [{"id": id} for id in ids],
            "next_cursor": str(number + 1) if number < PAGES else None,
        }
        exchange.body, exchange.outcome = json.dumps(body | {"pages": PAGES}).encode(), SUCCESS
        return exchange

    async def add(day: str, exchange: Exchange, values: dict[str, Any]) -> None:
        figures.count(day, exchange.outcome)
        row = {"request_id": exchange.request.id, "outcome": exchange.outcome} | values
        if files.put(day, row, 100):
            await files.flush_full()

    async def add_items(day: str, exchange: Exchange, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            await add(day, exchange, row)

    async def main() -> None:
        job = Job(
            config, lake, staging.path, staging.schema, "http://api.test", None, {DAY: 1}, "run",
            limit=how.get("limit"),
        )  # fmt: skip
        content = Content(config, Redactor(), None)
        await Walking(job, figures, files, content, Redactor(), send, add, add_items).walk(DAY, "{}", {})
        await files.flush()

    if "dies" in how:
        with pytest.raises(Killed):
            asyncio.run(main())
    else:
        asyncio.run(main())
    figures.files += files.written
    return figures, asked


def ids(lake: Lake, staging: Staging, figures: Figures) -> list[int]:
    tables = [pq.ParquetFile(f"{staging.path}/{name}").read() for name in figures.files]
    return sorted(json.loads(text)["id"] for table in tables for text in table["payload"].to_pylist())


ALL = list(range(PAGES * SIZE))


@pytest.mark.parametrize("pagination", [{"type": "cursor"}, {"type": "page", "pages": "pages", "size": SIZE}])
def test_a_task_that_is_tried_again_goes_on(lake, pagination):
    config = tickets(**pagination)
    staging = stage(lake, config)
    _, before = walk(lake, config, staging, "00000-a", dies=15)
    figures, after = walk(lake, config, staging, "00000-b")
    assert before == list(range(1, 16))
    assert 10 < after[0] <= 15, "no more is asked again than what was not written"
    assert after == list(range(after[0], PAGES + 1))
    assert ids(lake, staging, figures) == ALL
    assert figures.outcomes == {DAY: {SUCCESS: PAGES * SIZE}}


def test_it_may_be_killed_many_times(lake):
    config = tickets()
    staging = stage(lake, config)
    asked = Counter()
    for turn, page in enumerate((4, 9, 10, 17, 20)):
        asked.update(walk(lake, config, staging, f"00000-{turn}", dies=page)[1])
    figures, last = walk(lake, config, staging, "00000-z")
    asked.update(last)
    assert ids(lake, staging, figures) == ALL
    assert sum(asked.values()) <= PAGES + 5 * 3


def test_where_the_api_forgot_the_place_the_walk_begins_anew(lake):
    config = tickets()
    staging = stage(lake, config)
    walk(lake, config, staging, "00000-a", dies=15)
    mark = read_walk(lake, staging.path, DAY)
    assert mark is not None and mark.page is not None
    place = int(mark.page["query"]["cursor"])
    figures, asked = walk(lake, config, staging, "00000-b", forgotten=place)
    assert asked == [place, *range(1, PAGES + 1)]
    assert ids(lake, staging, figures) == ALL
    assert figures.outcomes == {DAY: {SUCCESS: PAGES * SIZE}}


def next_run(lake: Lake, config: ApiSource, first: Staging, epoch: int = 1, start: Any = None) -> Staging:
    announce(Run(lake, config, (DAY,), run_id=first.path), first, {DAY: epoch})
    second = stage(lake, config)
    earlier = earlier_runs(Run(lake, config, (DAY,), run_id="second"), second)
    take_over(Left(lake, config, second, earlier, DAY, 1), start)
    return second


def test_the_next_run_goes_on_where_the_killed_one_was(lake):
    config = tickets()
    first = stage(lake, config)
    walk(lake, config, first, "00000-a", dies=15)
    second = next_run(lake, config, first)
    figures, asked = walk(lake, config, second, "00000-b")
    assert asked[0] > 10
    assert ids(lake, second, figures) == ALL


def test_a_walk_that_had_ended_is_not_walked_again(lake):
    config = tickets()
    first = stage(lake, config)
    walk(lake, config, first, "00000-a")
    second = next_run(lake, config, first)
    figures, asked = walk(lake, config, second, "00000-b")
    assert asked == []
    assert ids(lake, second, figures) == ALL


def test_a_walk_that_the_api_broke_off_is_gone_on_with_by_later_runs(lake):
    config = tickets()
    staging, asked = stage(lake, config), Counter()
    for turn, page in enumerate((9, 15)):
        figures, pages = walk(lake, config, staging, f"00000-{turn}", breaks=page)
        asked.update(pages)
        assert figures.outcomes[DAY][RETRYABLE] == 1
        set_aside_broken(lake, staging, [DAY])
        lake.discard(staging, [DAY])
        staging = next_run(lake, config, staging)
    figures, pages = walk(lake, config, staging, "00000-z")
    asked.update(pages)
    assert ids(lake, staging, figures) == ALL
    assert figures.outcomes == {DAY: {SUCCESS: PAGES * SIZE}}
    assert sum(asked.values()) <= PAGES + 2 * 4


@pytest.mark.parametrize(
    ("why", "how"),
    [
        ("another epoch", {"epoch": 2}),
        ("another place that it began with", {"start": "2026-01-01"}),
    ],
)
def test_a_walk_of_something_else_is_not_gone_on_with(lake, why, how):
    config = tickets()
    first = stage(lake, config)
    walk(lake, config, first, "00000-a", dies=15)
    assert walk(lake, config, next_run(lake, config, first, **how), "00000-b")[1][0] == 1, why


def test_counted_pages_of_a_list_that_moves_are_counted_anew(lake):
    config = tickets("snapshot", type="page", pages="pages", size=SIZE)
    first = stage(lake, config)
    walk(lake, config, first, "00000-a", dies=15)
    assert walk(lake, config, next_run(lake, config, first), "00000-b")[1][0] == 1


def test_a_part_of_a_list_leaves_no_waymark(lake):
    config = tickets()
    staging = stage(lake, config)
    walk(lake, config, staging, "00000-a", limit=10)
    assert read_walk(lake, staging.path, DAY) is None


def test_a_missing_file_means_from_the_beginning(lake):
    config = tickets()
    first = stage(lake, config)
    walk(lake, config, first, "00000-a", dies=15)
    mark = read_walk(lake, first.path, DAY)
    assert mark is not None
    lake.filesystem.delete_file(f"{first.path}/{mark.files[0]}")
    assert walk(lake, config, next_run(lake, config, first), "00000-b")[1][0] == 1


# A real driver, killed ------------------------------------------------------------------------------------


@contextmanager
def listing(pages: int, size: int) -> Iterator[tuple[str, Counter[int]]]:
    """A list behind a cursor; each page takes 20 ms."""
    asked: Counter[int] = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            number = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
            asked[number] += 1
            time.sleep(0.02)
            items = [{"id": number * size + index} for index in range(size)]
            body = json.dumps({"data": items, "next_cursor": str(number + 1) if number + 1 < pages else None})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.servers
def test_a_killed_driver_leaves_a_walk_that_the_next_goes_on_with(lake):
    pages, size = 300, 50
    with listing(pages, size) as (url, asked):
        config = TICKETS | {
            "auth": {"type": "none"},
            "form": {"type": "pull", "items": "data", "pagination": {"type": "cursor"}, "key": {"id": "bigint"}},
            "endpoint": {"base_url": url, "path": "/tickets"},
            "execution": {"flush_rows": 1000},
        }  # fmt: skip
        first = Driver(lake, url, 0, source=config)
        try:
            deadline = time.monotonic() + patience(200)
            while sum(asked.values()) < 200:
                assert time.monotonic() < deadline and first.process.poll() is None, first.output.read_text()
                time.sleep(0.01)
            first.kill()
        finally:
            first.end()
        before = sum(asked.values())
        second = Driver(lake, url, 0, source=config)
        try:
            told = second.finish()
        finally:
            second.end()
    assert told.get("rows") == pages * size, told
    assert before < pages, "the kill came in the middle"
    # A waymark comes with each file, which holds half of flush_rows: ten pages.
    assert sum(asked.values()) <= pages + 15
    with lake.connect() as connection:
        rows = connection.execute(
            f"select count(*), count(distinct id), sum(id) from bronze.tickets where {DS} = '{DAY}'"
        ).fetchone()
    assert rows == (pages * size, pages * size, sum(range(pages * size)))
