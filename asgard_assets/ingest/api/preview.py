"""A look before anything is written: what would be asked for, and a few real answers. No Spark, no table."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.service import JobService
from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.pipeline import connected
from asgard_assets.ingest.api.plan.calendar import calendar_of, refuse_days, today
from asgard_assets.ingest.api.plan.ledger import RequestPlan, modes, plan_rows, refuse_cut
from asgard_assets.ingest.api.plan.rendering import Renderer, partition_values
from asgard_assets.ingest.api.plan.requests import PLAN, PLAN_COLUMNS
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.ingest.api.source.paths import at
from asgard_assets.ingest.api.source.payload import Schema, merge, settled, shape
from asgard_assets.ingest.api.source.secrets import address_shown, without_logins
from asgard_assets.ingest.api.source.templates import RenderError
from asgard_assets.ingest.api.table.bronze import arrow_schema
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.ingest.api.table.postprocess import known_schema
from asgard_assets.ingest.api.worker import Task
from asgard_assets.lake import Lake, Staging, duck
from asgard_assets.lake.duck import Reach


@dataclass(frozen=True)
class DryRun:
    """What a run would send: by day its mode and requests, and the first requests themselves (or why not)."""

    plan: RequestPlan
    requests: tuple[Request | str, ...]


@dataclass(frozen=True)
class Preview:
    """A few answers as Bronze rows, what was told from them, and what it took."""

    rows: tuple[Mapping[str, Any], ...]
    payload: Schema | None
    pagination: str
    cursor: Any
    figures: Figures


def dry_run(
    lake: Lake,
    source: ApiSource,
    days: Sequence[str],
    mode: Mode,
    rows: str | None = None,
    limit: int | None = None,
) -> DryRun:
    """Plan a run and render its first requests; nothing is sent, and nothing written to the lake.

    `rows`: Parquet files (a glob) for a source that names no rows of its own. Raises ConfigError.
    """
    refuse_days(source, days, today(source.every, source.time_zone))
    _, _, source, base_url = connected(source, lake)
    run = Run(lake, source, tuple(days), mode, limit)
    with _planned(run, rows) as (plan, staging):
        refuse_cut(run, plan.modes)
        requests: list[Request | str] = []
        values = {day: partition_values(day, calendar_of(source), source.second) for day in days}
        address = address_shown(source.endpoint.base_url, base_url)
        for day, request_id, _, row, _ in _first(staging, source, plan, 3):
            import orjson

            renderer, page = Renderer(source, base_url), None
            if isinstance(source.form, PullForm):
                page = Walk(source.form).first
            start = source.incremental.start if source.incremental else None
            try:
                request, _ = renderer.request(
                    request_id, values[day], orjson.loads(row), page, {"value": start}
                )
                requests.append(replace(request, url=without_logins(address(request.url))))
            except RenderError as error:
                requests.append(f"{row}: {error.message}")
        return DryRun(plan, tuple(requests))


def preview(lake: Lake, source: ApiSource, day: str, rows: str | None = None, count: int = 3) -> Preview:
    """Send up to `count` requests (of a pull source: walk up to `count` pages) for `day`; write nothing.

    Raises as a run would, where the API is not there or refuses the credentials.
    """
    refuse_days(source, [day], today(source.every, source.time_zone))
    issuing, wire, source, base_url = connected(source, lake)
    # A huge body would become a file beside the table.
    source = source.model_copy(update={"sink": source.sink.model_copy(update={"offload_bytes": None})})
    with _planned(Run(lake, source, (day,), "refresh", count), rows) as (plan, staging):
        chosen = _first(staging, source, plan, count)
        keep = _Keep()
        limits = source.limits
        start = source.incremental.start if source.incremental else None
        budget = Budget(limits.requests_per_second, limits.pause_share, patience=source.patience_seconds)
        with JobService(issuing, budget, wire) as service:
            job = Job(
                source, lake, staging.path, staging.schema, base_url, service.local(), {day: 1}, "preview",
                known_schema(lake, source), {day: start}, pages=count, calendar=calendar_of(source),
            )  # fmt: skip
            figures = asyncio.run(_run(job, chosen, keep))
    if not keep.rows and (figures.refused or figures.unreachable):
        raise ConfigError(figures.refused or figures.unreachable)
    return Preview(
        tuple(keep.rows), _told(source, keep.rows), figures.pagination, figures.cursors.get(day), figures
    )


@dataclass
class _Keep:
    """Rows kept in memory instead of files."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def note(self, day: str, note: Mapping[str, Any]) -> None:
        """Nothing is gone on with."""

    def put(self, day: str, row: Mapping[str, Any], size: int) -> bool:
        self.rows.append(row)
        return False

    async def flush_full(self) -> None:
        """Nothing is written."""

    async def flush_old(self) -> None:
        """Nothing is written."""

    async def flush(self, *days: str) -> None:
        """Nothing is written."""


async def _run(job: Job, chosen: list[tuple[Any, ...]], keep: _Keep) -> Figures:
    import pyarrow as pa

    columns = [pa.array(list(column), pa.string()) for column in zip(*chosen, strict=True)]
    batches = [pa.record_batch(columns, names=list(PLAN_COLUMNS))] if chosen else []
    return await Task(job, "preview", files=keep).run(iter(batches))


@contextmanager
def _planned(run: Run, rows: str | None) -> Iterator[tuple[RequestPlan, Staging]]:
    """The plan, with its files in a folder that goes away again."""
    lake, source, days, sink = run.lake, run.source, run.days, run.source.sink
    with tempfile.TemporaryDirectory(prefix="asgard-preview-") as folder:
        schema = arrow_schema(source, known_schema(lake, source))
        staging = Staging(
            sink.table, sink.stage, sink.name, folder, schema, days, {}, dimension=source.second
        )
        if source.rows is None:
            chosen, epochs = modes(run)
            yield RequestPlan(dict.fromkeys(days, 1), dict.fromkeys(days, 0), chosen, epochs), staging
            return
        if rows is None and not (source.rows.table or source.rows.query):
            raise ConfigError(
                f"{source.name}: the source names no rows of its own; give them with --rows FILE",
                field="form.rows",
            )
        yield plan_rows(run, staging, rows), staging


def _first(staging: Staging, source: ApiSource, plan: RequestPlan, count: int) -> list[tuple[Any, ...]]:
    """The first rows of the plan."""
    if source.rows is None:
        return [(day, "", "{}", "{}", None) for day in list(plan.send)[:1]]

    files = sorted(str(path) for path in Path(staging.path, PLAN).glob("*.parquet"))
    if not files:
        return []
    with duck.connect(Reach(paths=(staging.path,))) as connection:
        return connection.execute(
            f"select {', '.join(PLAN_COLUMNS)} from read_parquet(?) order by ds, length(row_key), row_key limit ?",
            [files, count],
        ).fetchall()


def _told(source: ApiSource, rows: Sequence[Mapping[str, Any]]) -> Schema | None:
    """The schema that the answers tell, whether the source asks for typed payloads or not."""
    from asgard_assets.ingest.api.http.decoding import Undecodable, read_json

    told = None
    path = source.sink.payload.path if source.sink.payload else ""
    for row in rows:
        if not row["success"]:
            continue
        value = row.get("payload")
        if value is None and row.get("body"):
            try:
                value = at(read_json(row["body"]), path)
            except Undecodable:
                continue
        elif isinstance(value, str):
            value = read_json(value)
        with suppress(RecursionError):  # nested too deeply for any column
            told = merge(told, shape(value))
    return None if told is None else settled(told)
