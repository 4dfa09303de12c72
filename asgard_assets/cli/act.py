"""Commands that do something: run, backfill, retry, repair, pause, resume, clean."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import (
    ACT,
    All,
    Cursor,
    DryRun,
    Output,
    OutputOption,
    Partitions,
    Replay,
    RowsFile,
    Target,
    TargetOrFile,
)
from asgard_assets.cli.terminal import console, looking, print_json, run_shown, share_history
from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.operations.actions import Work
    from asgard_assets.operations.runs import Launch, Ran
    from asgard_assets.operations.targets import Target as Found
    from asgard_assets.operations.todo import Finder


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (run, backfill, retry, repair, pause, resume, clean):
        app.command(rich_help_panel=ACT)(command)


def run(
    target: TargetOrFile,
    partitions: Partitions = "",
    everything: All = False,
    dry_run: DryRun = False,
    cursor: Cursor = None,
    rows: RowsFile = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="API file: send at most this many requests a partition (of a list: read at most this many items).",
            show_default=False,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="API file: store every answer in this folder, without secrets.", show_default=False
        ),
    ] = None,
    replay: Replay = None,
    output: OutputOption = Output.text,
) -> None:
    """Load what is new: ask an API, load new and changed files, sync an Airbyte connection, run tables.

    Without --partitions: what is new or missing, as `asgard plan` shows. A selection whose tables have different
    calendars takes several runs, upstream ones first. Exit code 1 if a partition was not published.

    Examples: asgard run invoices, asgard run 'group:silver' --partitions 2026-10-05...2026-10-11
    """
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.targets import is_file

    if is_file(target):
        from asgard_assets.cli import api_files
        from asgard_assets.operations.outside.source_file import ApiFile

        mode = "refresh" if everything else "auto"
        given = ApiFile(_api_at(target), partitions, None, limit, record, replay, cursor)
        api_files.run(given, rows, mode, dry_run, output)
        return
    # Dagster, which a file that is in no project does not need.
    from asgard_assets.operations import actions
    from asgard_assets.operations.sources import Kind

    _refuse_for_project(rows, limit, record, replay)
    span = Span.parse(partitions)
    with looking(f"looking for what is new in {target}") as tell:
        project, found = _found(target, tell)
        work = actions.work_to_run(project, found, span, everything, cursor)
    ran = _start(project, found, work, dry_run, output)
    source = found.source
    if source is not None and source.kind is Kind.airbyte and all(one.ok for one in ran):
        loads = actions.work_to_load(project, source, span, everything)
        ran += _start(project, found, loads, dry_run, output)
    _end(ran, work, dry_run, output)


def backfill(
    target: TargetOrFile,
    partitions: Partitions = "",
    everything: All = False,
    dry_run: DryRun = False,
    rows: RowsFile = None,
    output: OutputOption = Output.text,
) -> None:
    """Load older partitions that are missing: files that are not loaded, partitions that were never published.

    Partitions without a gap between them are one run.

    Example: asgard backfill invoices --partitions 2026-10-05...
    """
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.targets import is_file

    span = Span.parse(partitions)
    if span is None:
        raise ConfigError(
            f"say which partitions: asgard backfill {target} --partitions 2026-10-05... (from a day on), or a range"
        )
    if is_file(target):
        from asgard_assets.cli import api_files
        from asgard_assets.operations.outside.source_file import ApiFile

        api_files.backfill(ApiFile(_api_at(target), partitions), rows, everything, dry_run, output)
        return
    from asgard_assets.operations import actions

    with looking(f"looking for what is missing in {target}") as tell:
        project, found = _found(target, tell)
        work = actions.work_to_backfill(project, found, span, everything)
    _end(_start(project, found, work, dry_run, output), work, dry_run, output)


def retry(
    target: TargetOrFile,
    partitions: Partitions = "",
    dry_run: DryRun = False,
    rows: RowsFile = None,
    output: OutputOption = Output.text,
) -> None:
    """Send or run again what has no success: requests of an API, failed runs of a table.

    A file source's failed runs start again at its sensor's next tick, even if its files did not change.

    Example: asgard retry usage
    """
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.targets import is_file

    if is_file(target):
        from asgard_assets.cli import api_files
        from asgard_assets.operations.outside.source_file import ApiFile

        api_files.run(ApiFile(_api_at(target), partitions), rows, "resume", dry_run, output)
        return
    from asgard_assets.operations import actions
    from asgard_assets.operations.sources import Kind

    with looking(f"looking for what failed in {target}") as tell:
        project, found = _found(target, tell)
        work = actions.work_to_retry(project, found, Span.parse(partitions))
    marked = [] if dry_run else actions.retry_files(project, found)
    if output is Output.text:
        for one in marked:
            console.print(f"{one.source}: attempt {one.attempt} starts at the next tick")
    if any(source.kind is not Kind.files for source in found.sources) or len(found.assets) > len(marked):
        _end(_start(project, found, work, dry_run, output), work, dry_run, output, {"sensors": marked})
    elif output is Output.json:
        print_json({"sensors": marked, "runs": []})


def repair(
    target: TargetOrFile,
    partitions: Partitions = "",
    dry_run: DryRun = False,
    rows: RowsFile = None,
    output: OutputOption = Output.text,
) -> None:
    """Load again what could not be used, after you fixed the cause.

    Of files: records in quarantine. Of an API: requests that failed for good. Of a Silver table: rejected rows.
    A file that could not be read and was removed since leaves the quarantine.

    Example: asgard repair invoices --dry-run
    """
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.targets import is_file

    if is_file(target):
        from asgard_assets.cli import api_files
        from asgard_assets.operations.outside.source_file import ApiFile

        api_files.run(ApiFile(_api_at(target), partitions), rows, "resume", dry_run, output)
        return
    from asgard_assets.operations import actions

    with looking(f"looking for what could not be used of {target}") as tell:
        project, found = _found(target, tell)
        gone = actions.forget_removed(project, found, dry_run)
        work = actions.work_to_repair(project, found, Span.parse(partitions))
    if output is Output.text:
        for path in gone:
            console.print(f"{path} was removed from the landing: it leaves the quarantine")
    ran = _start(
        project,
        found,
        work,
        dry_run,
        output,
        "nothing to repair: nothing is in quarantine, failed or rejected",
    )
    left = {} if dry_run or not ran else actions.left_in_quarantine(project, found)
    if output is Output.text:
        for name, records in left.items():
            console.print(f"{name}: {records} records are left in quarantine")
    _end(ran, work, dry_run, output, {"removed": gone, "left_in_quarantine": left})


def pause(
    target: Target,
    reason: Annotated[str, typer.Option(help="Shown by `asgard state` and in every tick.")] = "",
    output: OutputOption = Output.text,
) -> None:
    """Start no more runs for new data of a source. Runs in progress finish. Sensors still report what waits.

    Example: asgard pause invoices --reason "vendor resends"
    """
    from asgard_assets.cli.reports import run_report
    from asgard_assets.operations import actions

    project, found = _found(target)
    done = actions.pause(project, found, reason, getpass.getuser())
    run_report.show_switched(done, output)


def resume(target: Target, output: OutputOption = Output.text) -> None:
    """Resume a paused source. What waits is picked up at the next tick.

    Example: asgard resume invoices
    """
    from asgard_assets.cli.reports import run_report
    from asgard_assets.operations import actions

    project, found = _found(target)
    run_report.show_switched(actions.resume(project, found), output)


def clean(target: Target, dry_run: DryRun = False, output: OutputOption = Output.text) -> None:
    """Move or delete old loaded files, as the source's `clean` says. Compact other tables, and remove their old files.

    A file source without `clean` is refused. Tables are also cleaned each night (platform/lake_maintenance).

    Example: asgard clean invoices --dry-run
    """
    from asgard_assets.cli.reports import run_report
    from asgard_assets.operations import actions

    with looking(f"cleaning {target}") as tell:
        project, found = _found(target, tell)
        done = actions.clean(project, found, dry_run)
    run_report.show_cleaned(done, dry_run, output)


def _found(text: str, tell: Callable[[str, int], None] = lambda *_: None) -> tuple[Finder, Found]:
    import dagster as dg

    from asgard_assets.operations.actions import finder
    from asgard_assets.operations.targets import find, is_file

    if is_file(text):
        raise ConfigError(
            f"{text} is in no project: this command is for a source of the project, by its name"
        )
    share_history()
    project = finder(dg.DagsterInstance.get(), tell)
    return project, find(project.catalog, text)


def _start(
    project: Finder,
    found: Found,
    work: Work,
    dry_run: bool,
    output: Output,
    nothing: str = "nothing to run",
) -> list[Ran]:
    """Show what was found, and run it unless it is a dry run."""
    from asgard_assets.cli.reports import run_report
    from asgard_assets.operations import actions, runs

    if output is Output.text:
        run_report.show_work(work, found.text, nothing)
    if dry_run or not work.launches:
        return []
    actions.prepare(project, work)
    instance, of = project.instance, len(work.launches)
    numbers = {one.id: n for n, one in enumerate(work.launches, 1)}

    def execute(one: Launch) -> Ran:
        with run_shown(one, numbers[one.id], of, instance, _expected(instance, one)):
            return runs.execute(one, instance)

    def done(one: Ran) -> None:
        if output is Output.text:
            run_report.show_ran(one)

    return runs.launch(project.catalog.graph, work.launches, execute, done)


def _end(
    ran: Sequence[Ran], work: Work, dry_run: bool, output: Output, more: dict[str, object] | None = None
) -> None:
    from asgard_assets.operations.actions import refuse_failed

    if output is Output.json:
        print_json({"todo": work.todos, "dry_run": dry_run, "runs": list(ran), **(more or {})})
        if any(not one.ok for one in ran):
            raise typer.Exit(1)
    refuse_failed(ran)


def _expected(instance: dg.DagsterInstance, one: Launch) -> float | None:
    """Seconds that past runs of these assets took for so many partitions."""
    import dagster as dg

    from asgard_assets.operations.history import history

    found = [
        history(instance, dg.AssetKey.from_user_string(asset)).estimate(
            "partitions", max(1, len(one.partitions))
        )
        for asset in one.assets[:20]
    ]
    known = [estimate.seconds for estimate in found if estimate is not None]
    return sum(known) if known else None


def _api_at(target: str) -> Path:
    """The path of an API source's file. Raises ConfigError for a file source: that one needs a project."""
    from asgard_assets.operations.outside.source_file import file_source_at

    if source := file_source_at(Path(target)):
        raise ConfigError(
            f"{target} is a source of files: put it into the project as defs/bronze/{source.name}/defs.yaml to load it. "
            "`asgard preview` and `asgard plan` take the file as it is"
        )
    return Path(target)


def _refuse_for_project(
    rows: Path | None, limit: int | None, record: Path | None, replay: Path | None
) -> None:
    given = {"--rows": rows, "--limit": limit, "--record": record, "--replay": replay}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(wrong)}: only for the YAML file of an API source, not for a source of the project"
        )
