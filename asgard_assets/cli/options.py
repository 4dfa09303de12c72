"""Arguments and options that mean the same in every command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asgard_assets.operations.partitions import HELP


class Output(StrEnum):
    """How a command prints what it found."""

    text = "text"
    json = "json"


class Report(StrEnum):
    """How a report is printed: for a person, for a program, for a pull request."""

    text = "text"
    json = "json"
    markdown = "markdown"


class Rows(StrEnum):
    """How rows are printed."""

    text = "text"
    json = "json"
    jsonl = "jsonl"


LOOK, ACT, START, UPKEEP = "Look: nothing is changed", "Act", "Start here", "Upkeep"

_TARGET = "A source (API, files, Airbyte), a table (bronze/invoices), or a selection of assets ('group:silver'); several with commas"
Target = Annotated[str, typer.Argument(metavar="TARGET", help=f"{_TARGET}.", show_default=False)]
TargetOrFile = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help=f"{_TARGET}, or the YAML file of a source that is in no project.",
        show_default=False,
    ),
]
AnyTarget = Annotated[
    str, typer.Argument(metavar="[TARGET]", help=f"{_TARGET}; default: all sources.", show_default=False)
]
Partitions = Annotated[str, typer.Option(help=HELP, show_default=False)]
All = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Ask APIs for everything again, load loaded files again, run published partitions again.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")]
OutputOption = Annotated[Output, typer.Option(help="text for people, json for programs.")]
ReportOption = Annotated[
    Report, typer.Option(help="text for people, json for programs, markdown for a pull request.")
]
RowsFile = Annotated[
    Path | None,
    typer.Option(
        "--rows",
        help="CSV, JSON or Parquet file with rows, for an API source that names none.",
        show_default=False,
    ),
]
Cursor = Annotated[
    str | None,
    typer.Option(
        help="Start an incremental source here, this once; the stored cursor does not move back.",
        show_default=False,
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(help="Use the answers of a recording; the API is not asked.", show_default=False),
]
