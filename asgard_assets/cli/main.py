"""The `asgard` command."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from asgard_assets import project
from asgard_assets.cli import accounts, act, look, stream, telemetry, upkeep
from asgard_assets.cli import new as cli_new
from asgard_assets.cli import start as cli_start
from asgard_assets.cli.catalog import catalog
from asgard_assets.cli.managed import managed
from asgard_assets.cli.options import LOOK, START, UPKEEP, Output, OutputOption, Rows
from asgard_assets.cli.servers import beside as beside_dagster
from asgard_assets.cli.servers import commands as server_commands
from asgard_assets.cli.terminal import (
    Terminal,
    echo,
    looking,
    print_json,
    share_history,
    show_escapes_in_logs,
)
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.ingest.api.source.secrets import aws_secrets
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from asgard_assets.strangers import visible

if TYPE_CHECKING:
    import psutil

app = typer.Typer(
    help="Asgard: from sources to predictions in one Dagster project. Start with `asgard init NAME`, then `asgard dev`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Terminal()
cli_start.register(app, START)
server_commands.register(app, START)


@app.command(rich_help_panel=START)
def doctor(output: OutputOption = Output.text) -> None:
    """Check whether this machine can run Asgard; say what is missing and how to install it. Exit code 1 if anything is.

    Example: asgard doctor --output json
    """
    from asgard_assets.doctor import examine

    findings = list(examine())
    if output is Output.json:
        print_json(findings)
    for finding in findings if output is Output.text else ():
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        console.print(f"{mark} {finding.subject}: {finding.found}", highlight=False)
        if finding.cure:
            console.print(f"    → {finding.cure}", highlight=False)
    raise typer.Exit(any(not finding.ok for finding in findings))


@app.command(rich_help_panel=START)
def dev(
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that the UI listens on.")] = "127.0.0.1",
    end_leftovers: Annotated[
        bool, typer.Option("--end-leftovers", help="End what a killed `asgard dev` has left, without asking.")
    ] = False,
) -> None:
    """Start the Dagster UI and daemon, the REST API, and what the project runs beside them, on the local data.

    Everything that it starts ends with it.

    Example: asgard dev --port 3001
    """
    from asgard_assets.cli import children

    found = project.current()
    mark = str(Settings().home.absolute())
    _offer_to_end(children.left_over(mark), end_leftovers)
    beside_dagster.refuse_taken(host, port)
    login = beside_dagster.needs_login()
    if login and host not in beside_dagster.LOOPBACK:
        raise ConfigError(
            f"there are accounts, and Dagster's UI at {host} would ask nobody for a key: leave out --host. The REST API "
            "shows the UI behind its login (asgard serve --host)"
        )
    os.environ[children.MARK] = mark
    beside = found.hook("dev")
    with beside() if beside else nullcontext():
        share_history()
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
        env = beside_dagster.dagster_variables(login, host, port)
        ui = children.start(command, found.folder, {**os.environ, **env})
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: ui.terminate())
        spark = beside_dagster.start_spark(found.folder)
        # Dagster makes its databases first: two processes at once would both write their first version.
        while ui.poll() is None and not _answers(host, port):
            time.sleep(0.5)
        servers = beside_dagster.start_beside(found.folder, env, login) if ui.poll() is None else []
        try:
            raise typer.Exit(ui.wait())
        finally:
            for one in (*servers, *spark):
                one.terminate()
            for one in (*servers, *spark):
                one.wait()


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _offer_to_end(left: Sequence[psutil.Process], wanted: bool) -> None:
    """Deal with what a killed `asgard dev` of this home has left. Raises ConfigError where it has to stay."""
    from asgard_assets.cli import children

    if not left:
        return
    named = ", ".join(f"{process.pid} ({process.name()})" for process in left if process.is_running())
    said = f"an earlier `asgard dev` was killed, and left these processes: {named}"
    if wanted or (sys.stdin.isatty() and typer.confirm(f"{said}. End them?", default=True)):
        children.end(left)
        return
    raise ConfigError(f"{said}. End them: .venv/bin/asgard dev --end-leftovers")


@app.command(rich_help_panel=LOOK)
def sql(
    query: Annotated[str | None, typer.Argument(help="DuckDB SQL; default: list the tables.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many rows.")] = 50,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Every table as it was then: 2026-10-12T06:30, in the project's zone.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Rows, typer.Option(help="text: a table. json: one list. jsonl: one line of JSON for each row.")
    ] = Rows.text,
) -> None:
    """Query the lake with DuckDB; without a query, list the tables.

    Every table is `stage.table`, rejected rows (`rejected.usage`) and quarantined records (`quarantine.usage`)
    included. The lake is read, never written. `--as-of` reaches back as far as maintenance keeps old files.

    Example: asgard sql "select ds, count(*) from silver.usage group by ds order by ds"
    """
    import duckdb
    from rich.table import Table

    from asgard_assets.operations.restore import moment

    query = (
        query
        or "select schema_name as stage, view_name as name from duckdb_views() where not internal order by all"
    )
    when = moment(as_of, Settings().time_zone) if as_of else None
    with looking("asking the lake"), Lake.from_settings().connect(as_of=when) as connection:
        try:
            answer = connection.sql(query)
            columns, found = (answer.columns, answer.fetchmany(limit + 1)) if answer else ([], [])
        except duckdb.Error as error:
            raise ConfigError(str(error).partition("\n\nLINE")[0]) from error
    if output is not Rows.text:
        objects = [dict(zip(columns, row, strict=True)) for row in found[:limit]]
        if output is Rows.json:
            print_json(objects)
        for one in objects if output is Rows.jsonl else ():
            echo(json.dumps(one, default=str))
        return
    table = Table(*map(visible, columns), box=None, pad_edge=False)
    for row in found[:limit]:
        table.add_row(*("" if value is None else escape(visible(str(value))) for value in row))
    wide = Terminal(width=None if console.is_terminal else 10_000, highlight=False)
    wide.print(table if found else "no rows")
    if len(found) > limit:
        wide.print(f"… and more: --limit {10 * limit}")


for group in (look, act, stream, telemetry, upkeep):
    group.register(app)
app.add_typer(cli_new.new, name="new", rich_help_panel=START)
app.add_typer(accounts.account, name="account", rich_help_panel=START)
app.add_typer(managed, name="managed", rich_help_panel=START)
app.add_typer(catalog, name="catalog", rich_help_panel=UPKEEP)


def _show(error: AsgardError) -> None:
    Terminal(stderr=True).print(
        f"asgard: {error}", style="red", highlight=False, markup=False, soft_wrap=True
    )


def _add_own_commands() -> None:
    """The project's own commands. One that cannot be loaded is named, and keeps no other from running."""
    try:
        found = project.find()
        for name, command in (found.commands() if found else {}).items():
            app.command(name, rich_help_panel=START)(command)
    except AsgardError as error:
        _show(error)


_add_own_commands()


def main() -> None:
    """Entry point: an expected error is one line that says what to do, not a stack trace."""
    gc.set_threshold(100_000, 20, 100)  # Dagster and dbt make hundreds of thousands of objects that stay
    show_escapes_in_logs()
    try:
        project.read_env()
        with aws_secrets(_aws_secret):
            app()
    except AsgardError as error:
        _show(error)
        sys.exit(1)


def _aws_secret(name: str) -> str:
    from asgard_assets.resources.production import read_aws_secret

    return read_aws_secret(name)


if __name__ == "__main__":
    main()
