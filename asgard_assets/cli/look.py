"""Commands that change nothing: sources, preview, plan, state, cost."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from asgard_assets.cli.options import (
    LOOK,
    AnyTarget,
    Output,
    OutputOption,
    Partitions,
    Replay,
    Report,
    ReportOption,
    RowsFile,
    TargetOrFile,
)
from asgard_assets.cli.terminal import console, echo, looking, print_json, share_history
from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.models import ApiSource
    from asgard_assets.lake import Lake
    from asgard_assets.operations.state import Files
    from asgard_assets.operations.targets import Target as Found
    from asgard_assets.operations.todo import Finder


class FileStates(StrEnum):
    """States of a landed file, or all of them."""

    pending = "pending"
    loaded = "loaded"
    changed = "changed"
    deleted = "deleted"
    failed = "failed"
    all = "all"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (sources, preview, plan, state, cost):
        app.command(rich_help_panel=LOOK)(command)


def sources(output: OutputOption = Output.text) -> None:
    """List all sources of the project: APIs, files and Airbyte connections.

    Example: asgard sources --output json
    """
    from asgard_assets.operations.sources import catalog

    found = catalog().sources
    if output is Output.json:
        print_json(list(found))
        return
    rows = [(s.name, s.kind.value, s.reads, ", ".join(s.tables)) for s in found]
    if not rows:
        console.print("the project has no sources")
        return
    head = ("source", "kind", "reads", "tables")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        console.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def preview(
    target: TargetOrFile,
    partitions: Partitions = "",
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows to show; of an API, requests or pages.", show_default="10 rows, 3 requests"
        ),
    ] = None,
    rows: RowsFile = None,
    replay: Replay = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Write the right values of an API's guesses into the YAML file.")
    ] = False,
    output: ReportOption = Report.text,
) -> None:
    """Show rows: of files as a load would make them, of an API from a few requests, of a table as published. Writes nothing.

    In the file of an API source, what is marked as guessed (`asgard new api`) is proven or corrected.

    Example: asgard preview invoices --limit 3
    """
    from asgard_assets.cli.reports import preview_report
    from asgard_assets.operations import preview as operations
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.targets import is_file

    if is_file(target):
        _preview_file(Path(target), partitions, limit, rows, replay, correct, output)
        return
    if rows or replay or correct:
        raise ConfigError("--rows, --replay and --correct are for the YAML file of an API source")
    with looking(f"reading {target}") as tell:
        project, found = _target(target, tell)
        shown = list(operations.previews(project, found, Span.parse(partitions), limit))
    preview_report.show(shown, output)


def plan(
    target: TargetOrFile,
    partitions: Partitions = "",
    rows: RowsFile = None,
    max_cost: Annotated[float | None, typer.Option(help="Highest compute cost.", show_default=False)] = None,
    max_files: Annotated[int | None, typer.Option(help="Most files to read.", show_default=False)] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Most bytes to read.", show_default=False)] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Most requests to send.", show_default=False)
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Longest time that the runs take, one after the other.", show_default=False),
    ] = None,
    max_partitions: Annotated[
        int | None, typer.Option(help="Most partitions, including downstream ones.", show_default=False)
    ] = None,
    output: ReportOption = Report.text,
) -> None:
    """Show what `asgard run` would read and cost, how long it takes, and which tables depend on it.

    Without --partitions, what is new or missing. Exit code 2 if it is over budget.

    Example: asgard plan 'group:bronze' --max-cost 2 --output markdown
    """
    from asgard_assets.cli.reports import plan_report
    from asgard_assets.operations.outside.estimate import plan_file
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.plan import PlanBudget, make_plan
    from asgard_assets.operations.targets import is_file

    with looking(f"looking at {target}") as tell:
        if is_file(target):
            from asgard_assets.cli.rows import frame

            with frame(rows) as found_rows:
                made = plan_file(Path(target), partitions, found_rows)
        else:
            project, found = _target(target, tell)
            made = make_plan(project, found, Span.parse(partitions))
    broken = PlanBudget(max_cost, max_files, max_bytes, max_requests, max_seconds, max_partitions).broken(
        made
    )
    report = {
        Report.text: plan_report.as_text,
        Report.json: plan_report.as_json,
        Report.markdown: plan_report.as_markdown,
    }
    echo(report[output](made, broken))
    if broken:
        raise typer.Exit(2)


class By(StrEnum):
    """What one line of the costs is about."""

    run = "run"
    table = "table"
    owner = "owner"


def cost(
    month: Annotated[
        str, typer.Option(help="The month, such as 2026-10. Default: this one.", show_default=False)
    ] = "",
    by: Annotated[By, typer.Option(help="One line for each run, table or owner.")] = By.table,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Write the month's runs into the table platform/costs, which outlives Dagster's history.",
        ),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Show what runs have cost: requests, bytes, CPU seconds, Spark hours and money, as they recorded it.

    Prices: ASGARD_COST_PER_DBU_HOUR and ASGARD_DBU_PER_HOUR.

    Example: asgard cost --month 2026-10 --by owner
    """
    from datetime import datetime
    from zoneinfo import ZoneInfo

    import dagster as dg

    from asgard_assets.cli.reports import cost_report
    from asgard_assets.lake import Lake
    from asgard_assets.operations.costs import month as months
    from asgard_assets.operations.costs.figures import costs, month_of, summed
    from asgard_assets.operations.sources import load_definitions
    from asgard_assets.settings import Settings

    settings, lake = Settings(), Lake.from_settings()
    start, end = month_of(month or f"{datetime.now(ZoneInfo(settings.time_zone)):%Y-%m}", settings.time_zone)
    share_history()
    with looking("reading the history"), dg.DagsterInstance.get() as instance:
        found = costs(instance, load_definitions().resolve_all_asset_specs(), start, end, settings)
        if keep:
            months.keep(lake, found, settings.time_zone)
        lines = summed(months.of_month(lake, found, start), by.value)
    cost_report.show(lines, by.value, output)


def state(
    target: AnyTarget = "",
    files: Annotated[
        list[FileStates] | None,
        typer.Option(
            help="List the landed files in this state, with the reason of failed ones; can be repeated."
        ),
    ] = None,
    partitions: Partitions = "",
    limit: Annotated[int, typer.Option(min=1, help="With --files: show at most this many.")] = 1000,
    set_to: Annotated[
        str | None,
        typer.Option(
            "--set",
            help="Of an incremental API source: the next run starts at this cursor.",
            show_default=False,
        ),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="The next run starts at incremental.start; published partitions stay."),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Show where sources and tables stand: what waits, what failed, what is paused, and the cursor of an API.

    Of tables that are built from others: which partitions are missing, stale (which input changed, and when), failing,
    held after a cancelled run, or open because their window has not ended.

    Exit code 1 if the source that was named cannot be listed.

    Examples: asgard state, asgard state invoices --files failed, asgard state orders --set 2026-10-05T10:00:00Z
    """
    from asgard_assets.cli.reports import state_report
    from asgard_assets.operations import state as operations
    from asgard_assets.operations.targets import is_file

    if set_to is not None and reset:
        raise ConfigError("give --set or --reset, not both")
    if target and is_file(target):
        _state_of_file(Path(target), set_to, reset, output)
        return
    with looking(f"looking at {target or 'all sources'}") as tell:
        project, found = _target(target, tell)
        if set_to is not None or reset:
            _move(project.lake, _api_of(project, found), set_to)
        listed = _listed(project, found, files, partitions, limit) if files else None
        one = found.source is not None
        states = [] if listed else list(operations.source_states(project, found))
        tables = [] if listed else list(operations.table_states(project, found))
        lake = {} if listed else {each.state.asset: each for each in operations.lake_states(project, found)}
    if listed:
        state_report.show_files(listed, output)
    else:
        state_report.show(states, tables, one, output, lake)
    if one and any(each.error for each in states):
        raise typer.Exit(1)


def _target(text: str, tell: Callable[[str, int], None]) -> tuple[Finder, Found]:
    """The project, and what is meant in it."""
    import dagster as dg

    from asgard_assets.operations.actions import finder
    from asgard_assets.operations.targets import everything, find

    share_history()
    project = finder(dg.DagsterInstance.get(), tell)
    return project, find(project.catalog, text) if text else everything(project.catalog)


def _move(lake: Lake, source: ApiSource, cursor: str | None) -> None:
    """The next run starts at the cursor; None: where the very first one did."""
    from asgard_assets.operations import cursors

    if cursor is None:
        cursors.reset_state(lake, source)
    else:
        cursors.set_state(lake, source, cursor)


def _listed(project: Finder, found: Found, files: list[FileStates], partitions: str, limit: int) -> Files:
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.state import Files, State, list_files

    wanted = None if FileStates.all in files else {s for s in get_args(State) if FileStates(s) in files}
    parts = [list_files(project, s, wanted, Span.parse(partitions), limit) for s in found.sources]
    if not any(source.kind.value != "api" for source in found.sources):
        raise ConfigError(f"{found.text} has no landed files: --files is for sources of files")
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part.counts.items():
            counts[name] = counts.get(name, 0) + count
    return Files(counts, tuple(each for part in parts for each in part.files)[:limit])


def _api_of(project: Finder, found: Found) -> ApiSource:
    source = found.source
    if source is None or source.name not in project.catalog.apis:
        raise ConfigError(f"{found.text or 'all'}: --set and --reset are for one API source, by its name")
    return project.catalog.apis[source.name]


def _preview_file(
    path: Path,
    partitions: str,
    limit: int | None,
    rows: Path | None,
    replay: Path | None,
    correct: bool,
    output: Report,
) -> None:
    from asgard_assets.cli import api_files
    from asgard_assets.cli.reports import preview_report
    from asgard_assets.operations.outside.source_file import ApiFile, file_source_at
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.preview import preview_of_files

    source = file_source_at(path)
    if source is None:
        api_files.preview(ApiFile(path, partitions, limit=limit, replay=replay), rows, correct, output)
        return
    if rows or replay or correct:
        raise ConfigError("--rows, --replay and --correct are for the YAML file of an API source")
    with looking(f"reading {source.path}/"):
        shown = preview_of_files(source, Span.parse(partitions), limit or 10)
    preview_report.show([shown], output)


def _state_of_file(path: Path, set_to: str | None, reset: bool, output: Output) -> None:
    from asgard_assets.cli.reports import state_report
    from asgard_assets.ingest.api.source.config import load
    from asgard_assets.lake import Lake
    from asgard_assets.operations.outside import source_file as outside

    if set_to is not None or reset:
        _move(Lake.from_settings(), load(path), set_to)
    state_report.show([outside.state(path)], [], True, output)
