"""The `asgard` command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from asgard_assets.cli import api as cli_api
from asgard_assets.cli import files as cli_files
from asgard_assets.cli import new as cli_new
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.lake import Lake
from asgard_assets.settings import ROOT, Settings

app = typer.Typer(
    help="Asgard: sources to predictions in one Dagster project. Start with `asgard doctor`, then `asgard demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
START, LOOK, UPKEEP = "Start here", "Look before, look after", "Upkeep"


def _home(settings: Settings) -> None:
    """Share history between this command, the UI and `dagster` itself."""
    from asgard_assets.resources.home import prepare_home

    os.environ.setdefault("DAGSTER_HOME", str(prepare_home(settings)))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")


airbyte = typer.Typer(help="Airbyte: the committed snapshot of its connections.", no_args_is_help=True)
app.add_typer(airbyte, name="airbyte", rich_help_panel=UPKEEP)


@airbyte.command()
def refresh(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the snapshot is out of date.")
    ] = False,
) -> None:
    """Ask Airbyte for its connections, rewrite the committed snapshot and show what changed."""
    from asgard_assets.components.airbyte import refresh_snapshot

    difference = refresh_snapshot(write=not check)
    console.print(difference or "the snapshot says what Airbyte says", highlight=False, markup=False)
    if check and difference:
        raise typer.Exit(1)


@app.command(rich_help_panel=START)
def doctor() -> None:
    """Check whether this machine can run Asgard; say what is missing and how to install it. Exit code 1 if anything is."""
    from asgard_assets.doctor import examine

    findings = list(examine())
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        console.print(f"{mark} {finding.subject}: {finding.found}", highlight=False)
        if finding.cure:
            console.print(f"    → {finding.cure}", highlight=False)
    raise typer.Exit(any(not finding.ok for finding in findings))


@app.command(rich_help_panel=START)
def demo(
    fresh: Annotated[bool, typer.Option(help="Delete the data and history of earlier demos first.")] = False,
) -> None:
    """Run the churn demo: from three kinds of source to predictions, over 28 days and three model cut-offs.

    Asks Dagster only for what is missing: a second call finds nothing to do.
    """
    from asgard_assets.demo import alone, forget, run_demo, use_demo_calendar

    use_demo_calendar()
    settings = Settings()
    with alone(settings.home.absolute()):
        if fresh:
            forget(settings.home)
        _home(settings)
        run_demo(settings)


@app.command(rich_help_panel=START)
def dev(
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that the UI listens on.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and daemon on the local data, and the demo's sources."""
    from asgard_assets.demo import demo_sources, use_demo_calendar

    use_demo_calendar()
    settings = Settings()
    _refuse_taken(host, port)
    _home(settings)
    with demo_sources(settings):
        command = [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "-w",
            "workspace.yaml",
            "-h",
            host,
            "-p",
            str(port),
        ]
        ui = subprocess.Popen(command, cwd=ROOT)
        # Ctrl-C reaches the UI by itself; what stops this command stops the UI too.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: ui.terminate())
        raise typer.Exit(ui.wait())


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror}): stop what is there, or take another "
                f"port: .venv/bin/asgard dev --port {port + 1}"
            ) from error


@app.command(rich_help_panel=LOOK)
def sql(
    query: Annotated[str | None, typer.Argument(help="DuckDB SQL; default: list the tables.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Show at most this many rows.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each row.")] = False,
) -> None:
    """Query the lake: `asgard sql "select ds, count(*) from silver.usage group by ds order by ds"`.

    Every table is `stage.table`, rejected rows (`rejected.usage`) and quarantined records (`quarantine.usage`)
    included. The lake is read, never written.
    """
    import duckdb
    from rich.table import Table

    query = (
        query
        or "select schema_name as stage, view_name as name from duckdb_views() where not internal order by all"
    )
    with Lake.from_settings().connect() as connection:
        try:
            answer = connection.sql(query)
            columns, found = (answer.columns, answer.fetchmany(rows + 1)) if answer else ([], [])
        except duckdb.Error as error:
            raise ConfigError(str(error).partition("\n\nLINE")[0]) from error
    if as_json:
        for row in found[:rows]:
            typer.echo(json.dumps(dict(zip(columns, row, strict=True)), default=str))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in found[:rows]:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    wide = Console(width=None if console.is_terminal else 10_000, highlight=False)
    wide.print(table if found else "no rows")
    if len(found) > rows:
        wide.print(f"… and more: --rows {10 * rows}")


cli_api.register(app)


cli_files.register(app)


app.add_typer(cli_new.new, name="new", rich_help_panel=START)


@app.command(rich_help_panel=LOOK)
def preview(
    source: Annotated[str, typer.Argument(help="Name of a file source, or the file of an API source.")],
    partition: Annotated[str | None, typer.Option(help="API: the day; default: today.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Files: how many rows to show. API: a file with rows to make requests from."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="API: requests, or pages of a list.")] = 3,
    replay: Annotated[Path | None, typer.Option(help="API: use this recording's answers.")] = None,
    output: Annotated[str, typer.Option(help="Files: text, json or markdown.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Files: the same as --output json.")] = False,
    correct: Annotated[
        bool, typer.Option("--correct", help="API: write the right values of its guesses into the file.")
    ] = False,
) -> None:
    """Show the rows that a file source would load, or a few answers of an API. Writes nothing.

    Of what an API source's file marks as guessed (`asgard new api`), it says whether it is proven or what is right.
    """
    if Path(source).suffix in (".yaml", ".yml", ".json"):
        cli_api.preview(Path(source), partition, Path(rows) if rows else None, count, replay, correct)
    elif rows is not None and not (rows.isdigit() and int(rows)):
        raise ConfigError(f"--rows {rows}: a file source is shown by a number of rows")
    else:
        cli_files.preview(source, int(rows or 10), "json" if as_json else output)


@app.command(rich_help_panel=UPKEEP)
def reference() -> None:
    """Write the JSON schemas and reference pages of everything that is configured in YAML (docs/)."""
    from asgard_assets.reference import write

    for path in write():
        console.print(f"wrote {path.relative_to(ROOT)}", highlight=False)


@app.command(rich_help_panel=UPKEEP)
def sweep(
    lost: Annotated[
        list[str] | None,
        typer.Option(help="A run whose host is dead: it is marked as failed first. Can be repeated."),
    ] = None,
) -> None:
    """Delete what killed hosts left on Kubernetes: applications and messages of runs that have ended."""
    import dagster as dg

    from asgard_assets.resources.cluster import kubernetes_launcher
    from asgard_assets.resources.leftovers import remove_leftovers

    settings = Settings()
    _home(settings)
    with dg.DagsterInstance.get() as instance:
        lines = list(remove_leftovers(instance, kubernetes_launcher(settings), lost or ()))
    for line in lines or ["nothing is left"]:
        console.print(line, highlight=False, markup=False)


def main() -> None:
    """Entry point: an expected error is one line that says what to do, not a stack trace."""
    try:
        app()
    except AsgardError as error:
        Console(stderr=True).print(
            f"asgard: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
