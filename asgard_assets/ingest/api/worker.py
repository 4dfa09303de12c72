"""One task, of Spark or in this process: an asyncio loop in a side thread, a fixed pool of workers, results straight into files.

Rows come from Spark one Arrow batch ahead; memory does not grow with their number. Only figures go back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import itertools
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.auth import Authenticator, Fixed
from asgard_assets.ingest.api.access.breaker import REFUSED_STATUSES, Breaker
from asgard_assets.ingest.api.access.cookies import fresh_jar, keep_cookies
from asgard_assets.ingest.api.access.redirects import BadRedirect, Redirecting
from asgard_assets.ingest.api.access.rotation import rotates
from asgard_assets.ingest.api.access.service import Address, ServiceClient
from asgard_assets.ingest.api.http import bodies
from asgard_assets.ingest.api.http.client import transport
from asgard_assets.ingest.api.http.decoding import decode
from asgard_assets.ingest.api.http.messages import (
    BodyTooLarge,
    ConnectFailed,
    LimitReached,
    Middleware,
    Refused,
    Request,
    Response,
    Send,
    TransportError,
    Unreachable,
    Unsendable,
    chain,
)
from asgard_assets.ingest.api.http.recording import NotRecorded, Recorder, Replayer
from asgard_assets.ingest.api.http.transport import Transport
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.lists.jobs import CONTROL
from asgard_assets.ingest.api.lists.more import next_page_of
from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.plan.intake import Intake
from asgard_assets.ingest.api.plan.rendering import Renderer, partition_values
from asgard_assets.ingest.api.plan.requests import requests_of
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.pacing import Gate, Limiting, Pause
from asgard_assets.ingest.api.rate.pressure import Pressure
from asgard_assets.ingest.api.rate.retry import Retrying
from asgard_assets.ingest.api.source.answers import Rule
from asgard_assets.ingest.api.source.forms import PullForm, RowForm
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.schemes import NoAuth, OAuth2
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.source.templates import RenderError
from asgard_assets.ingest.api.table.bronze import (
    PERMANENT,
    RETRYABLE,
    SUCCESS,
    ResultFiles,
    Results,
    written_by,
)
from asgard_assets.ingest.api.table.conditional import KEPT, conditional, kept_row, kept_schema
from asgard_assets.ingest.api.table.exchange import Describing, Exchange, outcome_of
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.ingest.api.table.progress import ProgressFile
from asgard_assets.ingest.api.values.cursors import earlier
from asgard_assets.ingest.api.walking import Walking

if TYPE_CHECKING:
    import pyarrow as pa


_COLLECT_AFTER = (50_000, 50, 100)  # objects, and collections of the younger generation
_HOSTS = 100  # of which figures are told
_STOP_SECONDS = 5  # in which what is being sent ends, after an interrupt
_KEPT_BYTES = 200  # of the row that a 304 leaves
_ROW_BYTES = 500  # of a row, beside its body or payload


def sender(
    job: Job, dealt: Sequence[Sequence[int]]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `mapInArrow`: a task's number in, one row of figures (JSON) out. `dealt`: the files of the
    plan that each task sends.
    """

    def send(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        again = bool(context and context.attemptNumber())
        for task in (number for batch in numbers for number in batch.column(0).to_pylist()):
            figures = run_files(job, dealt[task], f"{task:05d}", again)
            yield pa.record_batch([pa.array([figures.to_json()])], names=["figures"])

    return send


def run_files(
    job: Job, files: Sequence[int], label: str, again: bool = False, usable: bool = False
) -> Figures:
    """Send the requests of some of the plan's files; `again` where an earlier try of the same task may have sent
    some of them. `label` begins the names of the files that are written. `usable`: the API is known to answer.
    """
    figures = Figures(usable=usable)
    rows = itertools.chain.from_iterable(requests_of(job.lake, job.staging_path, n) for n in files)
    if again and job.source.one_request_a_row:
        figures, rows = skip_written(job, int(label), rows)
    return run_task(job, rows, f"{label}-{uuid.uuid4().hex[:8]}", figures)


def skip_written(
    job: Job, task: int, batches: Iterator[pa.RecordBatch]
) -> tuple[Figures, Iterator[pa.RecordBatch]]:
    """What an earlier try of this task has in whole files: its figures, and the rows less those."""
    import pyarrow as pa
    import pyarrow.compute as pc

    figures, ids = Figures(), []
    for day, inside, table in written_by(job.lake, job.staging_path, task):
        figures.files.append(inside)
        for counted in table["outcome"].value_counts().to_pylist():
            figures.count(day, counted["values"], counted["counts"])
        ids.append(table["request_id"].combine_chunks())
    figures.usable = any(SUCCESS in outcomes for outcomes in figures.outcomes.values())
    known = pa.chunked_array(ids, pa.string()).combine_chunks()

    def rest() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pc.invert(pc.is_in(batch["request_id"], value_set=known)))  # pyright: ignore

    return figures, rest()


def run_task(job: Job, batches: Iterator[pa.RecordBatch], label: str, before: Figures) -> Figures:
    """Send every row of `batches`; returns when all have an outcome in a file. Starts and ends its own loop.

    An interrupt of the calling thread ends the sending before it goes on.
    """
    done: list[Figures] = []
    failed: list[BaseException] = []
    stop: list[Callable[[], object]] = []

    async def send() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        done.append(await Task(job, label, figures=before).run(batches))

    def run() -> None:
        try:
            import uvloop

            with seldom_collected():
                uvloop.run(send())
        except BaseException as error:  # noqa: BLE001  raised again below, in the thread that Spark watches
            failed.append(error)

    thread = threading.Thread(target=run, name=f"api-{job.source.name}", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        for end in stop:
            end()
        thread.join(_STOP_SECONDS)
        raise
    if failed:
        raise _alone(failed[0])
    return done[0]


def _alone(error: BaseException) -> BaseException:
    """The one error that a group of tasks ended with; who called knows nothing of groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect garbage every so many objects that a task with thousands of rows in hand is not looked through
    again and again: that is a twelfth of the CPU time. What makes cycles here are errors, which are few.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Task:
    """The asyncio side of one Spark task."""

    def __init__(
        self,
        job: Job,
        label: str,
        client: Transport | None = None,
        figures: Figures | None = None,
        files: Results | None = None,
    ):
        source = job.source
        self._job, self._source = job, source
        self._client = client
        self._renderer = Renderer(source, job.base_url)
        self._streams, self._cookies = source.streams, source.keeps_cookies
        self._single = source.one_request_a_row
        self._steps = {name: Renderer(source, job.base_url, source.step(name)) for name in source.steps}
        self._redactor = Redactor()
        self._describing = Describing(source, self._redactor, job.base_url)
        self._service = ServiceClient(job.service) if isinstance(job.service, Address) else job.service
        self._days: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._shown = tuple(source.form.rows.shown) if isinstance(source.form, RowForm) else ()
        self._offload = source.sink.offload_bytes
        self._files = files or ResultFiles(source, job.lake, job.staging_path, job.schema, label)
        self._kept = ResultFiles(
            source, job.lake, f"{job.staging_path}/{KEPT}", kept_schema(job.schema), label
        )
        self._progress = ProgressFile(job.lake, job.staging_path, label) if job.progress else None
        self._content = Content(source, self._redactor, job.payload)
        self._breaker = Breaker(source, job.base_url)
        self._in_flight = 0
        self._unread: str | None = None  # what an answer of one row says of pages that nobody reads
        self.figures = figures or Figures()
        self.figures.workers.append(os.getpid())
        self._breaker.armed = not self.figures.usable
        self._walking = Walking(
            job, self.figures, self._files, self._content, self._redactor, self._exchange, self._add,
            self._add_items,
        )  # fmt: skip
        self._judge = judge_of(source)
        self._control = control_judge_of(source)
        limits = source.limits
        self._pressure = Pressure(
            limits.max_per_host or limits.max_in_flight, job.base_url, limits.late_factor, limits.bad_share
        )
        self._send = self._chain(label)

    def _chain(self, label: str) -> Send:
        """What a request passes on its way out, from the outside in: retries first, the connection last."""
        job, source = self._job, self._source
        pause = Pause(source.limits.pause_share)
        rate = source.limits.requests_per_second
        gate = Gate(
            self._service or Budget(rate, source.limits.pause_share, patience=source.patience_seconds),
            free=rate is None,
            judge=self._judge,
            patience=source.patience_seconds,
            heed=source.limits.headers == "follow",
        )
        auth = Authenticator(
            self._service or Fixed(),
            job.base_url,
            self._redactor,
            hosts=source.endpoint.hosts,
            auth=source.auth,
        )
        return chain(
            [
                Retrying(
                    source.retry, pause, judge=self._judge, longest_wait=source.limits.longest_wait_seconds
                ),
                Redirecting(
                    source.endpoint.redirects,
                    source.transport.tls.certificate is not None,
                    (*source.endpoint.hosts, *source.endpoint.leads_to),
                    None if source.endpoint.by_row else job.base_url,
                ),
                *([auth.renew] if isinstance(source.auth, OAuth2) or rotates(source.auth) else []),
                Limiting(pause, gate),
                *(load_middleware(path, source) for path in source.middleware),
                *_recording(source, label, self._redactor),
                *([keep_cookies] if source.keeps_cookies else []),
                *([] if isinstance(source.auth, NoAuth) else [auth.authorize]),
                self._pressure,
            ],
            self._once,
        )

    async def run(self, batches: Iterator[pa.RecordBatch]) -> Figures:
        """All rows to outcomes. What ends the task early is told in the figures, for the driver to raise."""
        started = time.monotonic()
        try:
            async with (
                self._service or contextlib.nullcontext(),
                await self._opened() as self._transport,
                asyncio.TaskGroup() as group,
            ):
                ended = asyncio.Event()
                aging = group.create_task(self._age(ended))
                rows = Intake(batches)
                async with rows, asyncio.TaskGroup() as workers:
                    for _ in range(self._source.limits.max_in_flight):
                        workers.create_task(self._work(rows))
                # Never cancelled: a file whose name is not told to the driver would be dropped.
                ended.set()
                await aging
                await self._files.flush()
                await self._kept.flush()
        except* (Unreachable, Refused):
            self.figures.aborted = True
        if self._breaker.armed:
            # Also where there were too few requests for the breaker: the driver knows of the other tasks.
            last = self._breaker.last
            self.figures.unreachable = last.message if isinstance(last, Unreachable) else ""
            self.figures.refused = last.message if isinstance(last, Refused) else ""
        self.figures.usable |= not self._breaker.armed
        self.figures.seconds = time.monotonic() - started
        self.figures.files += self._files.written
        self.figures.kept, self.figures.noted = self._kept.written, self._files.noted
        self.figures.hosts = {
            name: list(astuple(seen)) for name, seen in islice(self._pressure.seen(), _HOSTS)
        }
        self.figures.shape, self.figures.drift = self._content.shape, dict(self._content.drift)
        self.figures.fields = sorted(self._content.fields)
        if self._unread:
            self.figures.notes.append(self._redactor.text(self._unread))
        if self._content.mended:
            self.figures.notes.append(
                f"{self._content.mended} items held half of a surrogate pair, which no table can; it is U+FFFD, and "
                "error_message has it as it was sent"
            )
        if self._content.words:
            self.figures.notes.append(
                f"{self._content.words} items hold the text of a secret that is a plain word; they were not changed"
            )
        if self._content.masked:
            self.figures.notes.append(
                f"{self._content.masked} items held the text of a secret; it was replaced by *** (in key columns too)"
            )
        return self.figures

    async def _opened(self) -> Transport:
        """The client, with what it needs from the driver."""
        if self._client is not None:
            return self._client
        secrets = None
        if self._service and self._source.transport.has_secrets:
            secrets = await self._service.wire()
            self._redactor.add(secret.value for secret in secrets.hidden)
        return transport(self._source, secrets)

    async def _age(self, ended: asyncio.Event) -> None:
        every = min(1.0, self._source.execution.flush_seconds)
        if self._progress:
            every = min(every, self._progress.every_seconds)
        counted = 0
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every)
            self.figures.sent(int(time.time()), self.figures.requests - counted)
            counted = self.figures.requests
            await self._files.flush_old()
            await self._kept.flush_old()
            if self._progress:
                told = self._progress.told(self.figures, self._in_flight)
                await asyncio.to_thread(self._progress.write, told)

    async def _work(self, rows: Intake) -> None:
        one = self._list if isinstance(self._source.form, PullForm) else self._row
        while (planned := rows.at_hand() or await rows.take()) is not None:
            day, request_id, row_key, row, known = planned
            if self._cookies:
                fresh_jar()
            await one(day, request_id, row_key, row, known)

    # The two forms ---------------------------------------------------------------------------------------

    async def _row(
        self, day: str, request_id: str, row_key: str, row: dict[str, Any], known: str | None
    ) -> None:
        exchange = await self._exchange(day, request_id, row, None, known)
        if exchange.unchanged:
            self.figures.unchanged += 1
            self.figures.count(day, SUCCESS)
            if self._kept.put(day, kept_row(self._columns(day, exchange)), _KEPT_BYTES):
                await self._kept.flush_full()
            return
        values = self._content.of_body(exchange.text, exchange.outcome == SUCCESS)
        values["row_key"] = row_key
        for name in self._shown:
            values[name] = row[name]
        await self._add(day, exchange, values)

    async def _list(self, day: str, _: str, row_key: str, row: dict[str, Any], known: str | None) -> None:
        await self._walking.walk(day, row_key, row, known)

    # One request -----------------------------------------------------------------------------------------

    async def _exchange(
        self, day: str, request_id: str, row: dict[str, Any], page: Page | None, known: str | None = None,
        start: Any = None,
    ) -> Exchange:  # fmt: skip
        """Send one request, tries and all. Every end of it is an outcome. `start`: a parent's own cursor."""
        values, cursor = self._days.get(day) or self._of_day(day)
        if start is not None:
            cursor = {"value": earlier(start, self._job.overlap_seconds)}
        clock = time.monotonic()
        began = time.time()
        try:
            renderer = self._steps.get(page.step, self._renderer) if page else self._renderer
            request, params = renderer.request(request_id, values, row, page, cursor)
        except RenderError as error:
            exchange = Exchange(Request(request_id, self._source.endpoint.method, ""), began)
            exchange.failed(PERMANENT, error)
            return exchange
        trace = request.trace
        if page is not None and page.step in CONTROL:
            trace.control = True
        elif self._streams:
            trace.spool = tempfile.TemporaryFile(prefix="asgard-body-")  # noqa: SIM115  Walking closes it
        exchange = Exchange(request, began, params)
        try:
            response = await self._send(request if known is None else conditional(request, known))
            outcome, error = SUCCESS, None
            if known is not None and response.status == 304:
                exchange.unchanged = True
            else:
                outcome, error = outcome_of(response.verdict or self._judge.of(response), response.status)
                if error and trace.gave_up:
                    error = f"{error}; {trace.gave_up}"
            text, unread = self._content.text_of(response.headers, response.body)
            exchange.answered(response, outcome, error, text)
            if self._single and outcome == SUCCESS and not exchange.unchanged:
                if unread:
                    exchange.unread(unread)
                elif said := next_page_of(response.status, response.headers, response.body, params):
                    exchange.more_pages(said)
                    self._unread = self._unread or exchange.error_message
            self.figures.bytes += len(response.body) + response.spooled
        except (TransportError, LimitReached) as error:
            exchange.failed(RETRYABLE, error)
        except (BodyTooLarge, Unsendable, BadRedirect, NotRecorded) as error:
            exchange.failed(PERMANENT, error)
        if trace.spool is not None and not exchange.spooled:
            trace.spool.close()
        if trace.attempts > 1 or trace.throttles:
            self.figures.retries += max(0, trace.attempts - 1)
            self.figures.throttles += trace.throttles
        exchange.seconds = time.monotonic() - clock
        return exchange

    def _of_day(self, day: str) -> tuple[dict[str, str], dict[str, Any]]:
        """What templates know about a partition, and its cursor."""
        cursor = {"value": earlier(self._job.cursors.get(day), self._job.overlap_seconds)}
        found = self._days[day] = partition_values(day, self._job.calendar, self._source.second), cursor
        return found

    async def _once(self, request: Request) -> Response:
        """The innermost `send`: one try on the wire, counted."""
        figures = self.figures
        figures.requests += 1
        in_flight = self._in_flight = self._in_flight + 1
        if in_flight > figures.max_in_flight:
            figures.max_in_flight = in_flight
        try:
            response = await self._transport.send(request)
        except ConnectFailed as error:
            self._breaker.not_connected(error)
            raise
        finally:
            self._in_flight -= 1
        if request.trace.control:
            response.verdict = self._control.of(response)
        if self._breaker.armed and (
            response.status not in REFUSED_STATUSES or self._judge.of(response).means == "fail"
        ):
            self._breaker.answered(response)
        return response

    def _columns(self, day: str, exchange: Exchange) -> dict[str, Any]:
        """What all rows of an exchange share."""
        if exchange.columns is None:
            exchange.columns = self._describing.columns(exchange)
            exchange.columns["epoch"], exchange.columns["run_id"] = self._job.epochs[day], self._job.run_id
        return exchange.columns

    async def _add_items(self, day: str, exchange: Exchange, rows: Iterable[dict[str, Any]]) -> None:
        """Rows of one answer's items; they have no body."""
        shared, put, count = self._columns(day, exchange), self._files.put, 0
        rest = len(exchange.body) + _ROW_BYTES
        for row in rows:
            count += 1
            payload = row.get("payload")
            size = len(payload) + _ROW_BYTES if isinstance(payload, str) else rest
            if put(day, shared | row, size):
                await self._files.flush_full()
        self.figures.count(day, exchange.outcome, count)

    async def _add(self, day: str, exchange: Exchange, values: dict[str, Any]) -> None:
        job = self._job
        self.figures.count(day, exchange.outcome)
        if exchange.outcome != SUCCESS:
            self.figures.sample(
                ds=day,
                row_key=values["row_key"],
                outcome=exchange.outcome,
                status=exchange.status,
                error=self._redactor.text(exchange.error_message or ""),
                attempts=exchange.request.trace.attempts,
            )
        row = self._columns(day, exchange) | values
        body, payload = row.get("body") or "", row.get("payload")
        offload = self._offload
        if offload is not None and len(body) > offload:
            sink = self._source.sink
            row["body_path"] = await asyncio.to_thread(bodies.put, job.lake, sink.stage, sink.name, body)
            row["body"] = body = None
        size = (
            len(body or "") + (len(payload) if isinstance(payload, str) else len(exchange.body)) + _ROW_BYTES
        )
        if self._files.put(day, row, size):
            await self._files.flush_full()


def judge_of(source: ApiSource) -> Judge:
    """What the source's answers mean. A list's page must be readable, and a body that is parsed as well."""
    retry, form, decoder = source.retry, source.form, None
    if isinstance(form, PullForm):
        decoder = partial(decode, how=form.decode, most=source.sink.max_body_bytes)
    safe = source.endpoint.method in ("GET", "HEAD")
    return Judge(
        source.answers.all_rules,
        retry.statuses,
        retry.throttle_statuses,
        decoder,
        safe,
        source.sink.payload is not None,
    )


def control_judge_of(source: ApiSource) -> Judge:
    """What answers about an asynchronous job mean: 202 is one, and their bodies are not the result's."""
    accepted = Rule(means="success", status=("202",))
    retry = source.retry
    return Judge((*source.answers.all_rules, accepted), retry.statuses, retry.throttle_statuses, safe=False)


def _recording(source: ApiSource, label: str, redactor: Redactor) -> list[Middleware]:
    wire = source.transport
    if wire.replay:
        return [Replayer(Path(wire.replay))]
    return [Recorder(Path(wire.record), label, redactor)] if wire.record else []


def load_middleware(path: str, source: ApiSource) -> Middleware:
    """A team's own middleware. Raises ConfigError where the import path leads nowhere."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{source.name}: middleware {path} cannot be imported: {error}", mentions=path
        ) from error
