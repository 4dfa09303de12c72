"""The YAML file of an API source that is in no project: run, backfill, retry and preview it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from asgard_assets.cli.options import Output, Report
from asgard_assets.cli.reports.api_report import show_dry_run, show_preview, show_summary
from asgard_assets.cli.rows import frame
from asgard_assets.cli.terminal import console, print_json, requests_shown
from asgard_assets.operations.outside import source_file as outside
from asgard_assets.operations.outside.source_file import ApiFile

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.models import Mode


def run(given: ApiFile, rows: Path | None, mode: Mode, dry_run: bool, output: Output) -> None:
    """Send what `mode` asks for and publish it; exit code 1 if a partition is not published."""
    with frame(rows) as found:
        given = replace(given, rows=found)
        if dry_run:
            show_dry_run(outside.dry_run(given, mode), output)
            return
        with requests_shown() as tell:
            summary = outside.run(given, mode, tell)
    if output is Output.json:
        print_json(summary.told())
    else:
        if given.cursor is not None:
            console.print(f"{summary.source}: ran from the cursor {given.cursor}, once")
        show_summary(given.source(), summary)
    raise typer.Exit(bool(summary.bad_days))


def backfill(given: ApiFile, rows: Path | None, everything: bool, dry_run: bool, output: Output) -> None:
    """Run the partitions that were never published; all of them if `everything` is wanted."""
    if everything:
        run(given, rows, "refresh", dry_run, output)
        return
    missing = outside.missing(given)
    if not missing:
        if output is Output.json:
            print_json([])
        else:
            console.print(f"{given.path}: every partition is published")
    done, bad = [], False
    with frame(rows) as found:
        for days in missing:
            span = days[0] if len(days) == 1 else f"{days[0]}...{days[-1]}"
            one = replace(given, rows=found, partitions=span)
            if dry_run:
                show_dry_run(outside.dry_run(one, "auto"), output)
                continue
            with requests_shown() as tell:
                done.append(outside.run(one, "auto", tell))
            bad = bad or bool(done[-1].bad_days)
            if output is Output.text:
                show_summary(given.source(), done[-1])
    if output is Output.json and done:
        print_json([summary.told() for summary in done])
    raise typer.Exit(bad)


def preview(given: ApiFile, rows: Path | None, correct: bool, output: Report) -> None:
    """Send a few requests; show them, their answers and what those tell. Writes nothing."""
    with frame(rows) as found:
        show_preview(given.source(), outside.preview(replace(given, rows=found)), output)
    if given.replay is None and output is Report.text:
        from asgard_assets.cli.new import look_at_guesses

        look_at_guesses(given.path, given.partitions or None, rows, correct)
