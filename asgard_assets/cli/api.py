"""`asgard ingest` and `asgard preview`: one API source from its file, without Dagster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from asgard_assets.cli.rows import frame
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.windows import parse_days

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from asgard_assets.ingest.api.http.messages import Request
    from asgard_assets.ingest.api.preview import DryRun, Preview
    from asgard_assets.ingest.api.source.models import ApiSource, Mode
    from asgard_assets.ingest.api.table.figures import Summary
    from asgard_assets.ingest.api.table.progress import Progress


class Output(StrEnum):
    """How a command prints what it found."""

    text = "text"
    json = "json"


console = Console(highlight=False, markup=False, soft_wrap=True)
_PLAIN_EVERY_SECONDS = 5.0

Config = Annotated[Path, typer.Argument(help="YAML or JSON file of the source, or a component's defs.yaml.")]
Rows = Annotated[
    Path | None, typer.Option(help="A CSV, JSON or Parquet file with rows, for a source that names none.")
]
Cursor = Annotated[
    str | None,
    typer.Option(help="Start an incremental source here, this once; the stored cursor does not move back."),
]
Replay = Annotated[Path | None, typer.Option(help="Use the answers of a recording; the API is not asked.")]


def ingest(
    config: Config,
    partition: Annotated[
        str | None, typer.Option(help="A day, or a range 2026-10-05...2026-10-11; default: today.")
    ] = None,
    rows: Rows = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Send at most this many requests a day (pull: read at most this many items)."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent; send nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Send only what has no success yet.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask for everything again.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Store every answer in this folder, without secrets.")
    ] = None,
    replay: Replay = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    cursor: Cursor = None,
) -> None:
    """Run an API source and publish its days; exit code 1 if a day is not published."""
    from asgard_assets.ingest.api.plan.calendar import today, usual_days
    from asgard_assets.ingest.api.source.config import located

    if resume and refresh:
        raise ConfigError("give --resume or --refresh, not both")
    mode: Mode = "resume" if resume else "refresh" if refresh else "auto"
    source = _source(config, record, replay)
    days = (parse_days(partition) if partition else []) or usual_days(source, today())
    with located(config), frame(rows) as found:
        if dry_run:
            from asgard_assets.ingest.api.preview import dry_run as plan

            _show_dry_run(plan(Lake.from_settings(), source, days, mode, found, limit))
            return
        from asgard_assets.ingest.api.pipeline import run_pipeline

        with _session() as spark, _progress() as tell:
            more = {"days": days, "mode": mode, "limit": limit, "cursor": cursor}
            summary = run_pipeline(spark, source, found, on_progress=tell, **more)
    if cursor is not None and not as_json:
        console.print(f"{source.name}: ran from the cursor {cursor}, once")
    if as_json:
        typer.echo(json.dumps(summary.told(), indent=1, default=str))
    else:
        _show_summary(source, summary)
    raise typer.Exit(bool(summary.bad_days))


def preview(
    config: Config,
    partition: Annotated[str | None, typer.Option(help="The day; default: today.")] = None,
    rows: Rows = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="Requests, or pages of a list.")] = 3,
    replay: Replay = None,
    correct: bool = False,
) -> None:
    """Send a handful of requests; show them, their answers and what those tell. Writes nothing."""
    from asgard_assets.ingest.api.plan.calendar import today
    from asgard_assets.ingest.api.preview import preview as look
    from asgard_assets.ingest.api.source.config import located

    source = _source(config, None, replay)
    days = (parse_days(partition) if partition else []) or [today()]
    if len(days) > 1:
        raise ConfigError("a preview is of one day")
    with located(config), frame(rows) as found:
        _show_preview(source, look(Lake.from_settings(), source, days[0], found, count))
    if replay is None:
        from asgard_assets.cli.new import look_at_guesses

        look_at_guesses(config, days[0], rows, correct)


def run(
    source: Annotated[
        str, typer.Argument(help="YAML file of an API source, or the name of one in the project.")
    ],
    partition: Annotated[str | None, typer.Option(help="The day, or a range; default: today.")] = None,
    cursor: Cursor = None,
) -> None:
    """Run an API source now: a file in this process, or a source of the project as its asset."""
    from asgard_assets.operations.cursors import api_source

    if Path(source).suffix in (".yaml", ".yml", ".json"):
        ingest(Path(source), partition, cursor=cursor)
        return
    from asgard_assets.cli.files import share_history
    from asgard_assets.ingest.api.plan.calendar import today, usual_days
    from asgard_assets.operations.sources import materialize

    found = api_source(source)
    days = (parse_days(partition) if partition else []) or usual_days(found, today())
    share_history()
    config = {"ops": {f"api_{found.name}": {"config": {"cursor": cursor}}}} if cursor is not None else None
    materialize(found.sink.table, days, config)


def state(
    source: Annotated[
        str, typer.Argument(help="YAML file of an API source, or the name of one in the project.")
    ],
    set_to: Annotated[str | None, typer.Option("--set", help="The next run starts at this cursor.")] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="The next run starts at incremental.start; published days stay.")
    ] = False,
    output: Annotated[Output, typer.Option(help="How to print it.")] = Output.text,
) -> None:
    """Show the cursor at which an incremental source's next run starts. Set it, or reset it."""
    from dataclasses import asdict

    from asgard_assets.operations import cursors

    if set_to is not None and reset:
        raise ConfigError("give --set or --reset, not both")
    lake, found = Lake.from_settings(), cursors.api_source(source)
    if set_to is not None:
        stands = cursors.set_state(lake, found, set_to)
    else:
        stands = cursors.reset_state(lake, found) if reset else cursors.state(lake, found)
    if output is Output.json:
        typer.echo(json.dumps(asdict(stands), indent=1, default=str))
        return
    origin = {
        "start": "incremental.start",
        "set": "set by hand",
        "run": f"the run of {stands.ds}",
    }
    shown = stands.cursor if stands.cursor not in (None, "") else "none"
    console.print(f"{stands.source}: cursor {shown} ({origin[stands.came_from]})")
    if stands.sent != stands.cursor:
        console.print(f"with its overlap, the next run asks from {stands.sent}")
    for run in stands.history:
        console.print(f"  {run['ds']}: {run['from'] or 'none'} → {run['to']}")


def register(app: typer.Typer) -> None:
    """Add the commands to `asgard`."""
    for command in (ingest, run, state):
        app.command(rich_help_panel="API sources, by their YAML")(command)


def _source(config: Path, record: Path | None, replay: Path | None) -> ApiSource:
    from asgard_assets.ingest.api.source.config import load

    if record and replay:
        raise ConfigError("give --record or --replay, not both")
    source = load(config)
    if record or replay:
        folders = {"record": record and str(record), "replay": replay and str(replay)}
        source = source.model_copy(update={"transport": source.transport.model_copy(update=folders)})
    return source


@contextmanager
def _session() -> Iterator[Callable[[], SparkSession]]:
    """What opens a Spark session; one that was opened is stopped at the end."""
    opened: list[SparkSession] = []

    def session() -> SparkSession:
        from asgard_assets.spark.session import open_session

        opened.append(open_session())
        return opened[-1]

    try:
        yield session
    finally:
        for spark in opened:
            spark.stop()


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal; elsewhere a plain line every few seconds, and the last one."""
    err = Console(stderr=True, highlight=False, markup=False)
    if err.is_terminal:
        with err.status("starting") as status:
            yield lambda progress: status.update(progress.line())
        return
    shown = -_PLAIN_EVERY_SECONDS
    last: Progress | None = None

    def tell(progress: Progress) -> None:
        nonlocal shown, last
        last = progress
        if progress.seconds - shown >= _PLAIN_EVERY_SECONDS:
            shown = progress.seconds
            err.print(progress.line(), soft_wrap=True)

    yield tell
    if last is not None and last.seconds != shown:
        err.print(last.line(), soft_wrap=True)


def _show_request(request: Request) -> None:
    from asgard_assets.ingest.api.table.exchange import redacted_headers

    console.print(f"{request.method} {request.url}")
    for name, value in redacted_headers(request.headers).items():
        console.print(f"  {name}: {value}")
    if request.body:
        console.print(f"  {_short(request.body.decode())}")


def _show_dry_run(found: DryRun) -> None:
    for day, mode in found.plan.modes.items():
        carried = found.plan.carried[day]
        console.print(
            f"{day}: {mode}, {found.plan.send[day]:,} requests"
            + (f", {carried:,} rows kept" if carried else "")
        )
    for request in found.requests:
        console.print()
        if isinstance(request, str):
            console.print(f"no request: {request}")
        else:
            _show_request(request)
    console.print("\nnothing was sent")


def _show_preview(source: ApiSource, found: Preview) -> None:
    seen: set[Any] = set()
    for row in found.rows:
        if row["request_id"] in seen:
            continue
        seen.add(row["request_id"])
        items = [
            r for r in found.rows if r["request_id"] == row["request_id"] and r.get("item_index", -1) >= 0
        ]
        console.print(f"{row['method']} {row['url']}")
        for name, value in json.loads(row["request_headers"] or "{}").items():
            console.print(f"  {name}: {value}")
        if row["request_body"]:
            console.print(f"  {_short(row['request_body'])}")
        status = "no answer" if row["status_code"] is None else row["status_code"]
        console.print(
            f"→ {status} in {row['duration_seconds']:.2f} s, {row['attempts']} attempts, {row['outcome']}"
        )
        if row["error_message"]:
            console.print(f"  {row['error_message']}")
        if items:
            console.print(f"  {len(items)} items; the first: {_short(items[0]['payload'])}")
        elif row.get("body"):
            console.print(f"  {_short(row['body'])}")
        console.print()
    if not source.one_request_a_row:
        console.print(f"pagination: {found.pagination or source.form.pagination.type}")  # type: ignore[union-attr]
    if source.incremental:
        console.print(f"cursor after these pages: {found.cursor}")
    if found.payload is not None:
        console.print(f"schema: {json.dumps(found.payload)}")
    for path, count in found.figures.drift.items():
        console.print(f"does not fit the schema: {path} ({count})")
    if not found.rows:
        console.print("there are no rows to make requests of" if source.rows else "the list is empty")
    for note in found.figures.notes:
        console.print(f"note: {note}")
    console.print(f"{found.figures.requests} requests sent; nothing was written")


def _show_summary(source: ApiSource, summary: Summary) -> None:
    for day in summary.days:
        told = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(summary.outcomes.get(day, {}).items()))
        bad = f" · NOT PUBLISHED: {', '.join(summary.bad_days[day])}" if day in summary.bad_days else ""
        console.print(f"{source.sink.table} {day}: {told or 'no rows'} ({summary.modes[day]}){bad}")
    console.print(
        f"{summary.requests:,} requests in {summary.seconds:.1f} s ({summary.requests_per_second:,.0f}/s), "
        f"{summary.retries:,} retries, {summary.throttles:,} throttles, {summary.bytes:,} bytes"
        + ("" if summary.version is None else f"; table version {summary.version}")
    )
    console.print(f"ran in {summary.ran_in}: {summary.why}")
    if summary.pagination:
        console.print(f"pagination: {summary.pagination}")
    for note in summary.notes:
        console.print(f"note: {note}")
    for wait in summary.waits:
        done = "waited for it" if wait["waited"] else "not waited for"
        console.print(
            f"the API was closed until {wait['until']}, {wait['seconds']:,} s ({done}): {wait['why']}"
        )
    if summary.duplicates:
        console.print(f"repeated items left out: {sum(summary.duplicates.values()):,}")
    if summary.cursor is not None:
        console.print(f"cursor: {summary.cursor}")
    for path, count in summary.drift.items():
        console.print(f"does not fit the payload's schema: {path} ({count:,})")
    for failure in summary.failures[:5]:
        console.print(f"failed: {failure['ds']} {failure['row_key']} {failure['error']}")


def _short(value: Any, length: int = 400) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else f"{text[:length]} …"
