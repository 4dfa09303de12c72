"""`asgard migrate`: changes of tables, sources and the lake, shown before they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import DryRun, Output, OutputOption
from asgard_assets.cli.terminal import console, looking, print_json, share_history

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.lake import Lake
    from asgard_assets.operations.changes.migration import Migration

app = typer.Typer(
    help="Change tables that have rows: their columns, key and name; rename a source, move the lake, remove an asset.",
    no_args_is_help=True,
)
Table = Annotated[str, typer.Argument(help="stage/table, such as silver/usage.")]
Column = Annotated[str, typer.Argument(help="Name of the column.")]


@app.command()
def retype(
    table: Table,
    column: Column,
    to: Annotated[str, typer.Argument(help="The new type, such as bigint, double or decimal(12,2).")],
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Give a column another type. Refused if a value does not fit it.

    Example: asgard migrate retype silver/invoices amount double --dry-run
    """
    from asgard_assets.operations.changes import columns

    _migrate(lambda lake, _: columns.retype(lake, table, column, to), dry_run, output)


@app.command()
def rename(
    table: Table,
    column: Column,
    to: Annotated[str, typer.Argument(help="The new name.")],
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Rename a column.

    Example: asgard migrate rename silver/invoices amount price
    """
    from asgard_assets.operations.changes import columns

    _migrate(lambda lake, _: columns.rename(lake, table, column, to), dry_run, output)


@app.command()
def drop(table: Table, column: Column, dry_run: DryRun = False, output: OutputOption = Output.text) -> None:
    """Drop a column with its values.

    Example: asgard migrate drop silver/contacts phone
    """
    from asgard_assets.operations.changes import columns

    _migrate(lambda lake, _: columns.drop(lake, table, column), dry_run, output)


@app.command()
def key(
    table: Table,
    columns: Annotated[list[str], typer.Argument(help="The columns of the new key.")],
    newest: Annotated[
        str,
        typer.Option(
            help="If rows share a key, the one with the greatest value here stays.", show_default=False
        ),
    ] = "",
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Change the key: keep one row for each key in a partition.

    Example: asgard migrate key silver/contacts user_id --newest updated_at
    """
    from asgard_assets.operations.changes import columns as changes

    _migrate(lambda lake, _: changes.key(lake, table, columns, newest), dry_run, output)


@app.command()
def table(
    table: Table,
    to: Annotated[str, typer.Argument(help="The new stage/table.")],
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Rename a table or move it to another stage, with its history.

    Example: asgard migrate table gold/order_metrics gold/orders
    """
    from asgard_assets.operations.changes import places

    _migrate(lambda lake, instance: places.table(lake, table, to, instance), dry_run, output)


@app.command()
def source(
    name: Annotated[str, typer.Argument(help="The source's name.")],
    to: Annotated[str, typer.Argument(help="The new name.")],
    keep_table: Annotated[
        bool,
        typer.Option(
            "--keep-table", help="The Bronze table keeps its name, as of an API whose sink names it."
        ),
    ] = False,
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Rename a source. What it loaded stays loaded; its cursor, quarantine and logins go with it.

    Example: asgard migrate source invoices bills
    """
    from asgard_assets.operations.changes import places

    _migrate(lambda lake, instance: places.source(lake, name, to, instance, keep_table), dry_run, output)


@app.command()
def lake(
    to: Annotated[str, typer.Argument(help="The new root: a folder or s3://bucket/prefix.")],
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Copy the lake to another root. Run it again to copy what came meanwhile.

    Example: asgard migrate lake s3://lake/asgard --dry-run
    """
    from dataclasses import replace

    from asgard_assets.operations.changes import places
    from asgard_assets.roots import checked_root

    root = checked_root(to, "asgard migrate lake")
    _migrate(lambda lake, _: places.root(lake, replace(lake, root=root)), dry_run, output)


@app.command()
def remove(
    asset: Annotated[str, typer.Argument(help="stage/name of an asset that the project no longer has.")],
    dry_run: DryRun = False,
    output: OutputOption = Output.text,
) -> None:
    """Remove an asset: table, state, rejected and quarantined rows, online values, history and alerts.

    Example: asgard migrate remove silver/usage --dry-run
    """
    from asgard_assets.operations.changes import places
    from asgard_assets.operations.sources import load_definitions

    def plan(lake: Lake, instance: dg.DagsterInstance) -> Migration:
        known = {spec.key.to_user_string() for spec in load_definitions().resolve_all_asset_specs()}
        return places.asset(lake, asset, instance, known, _forget_online)

    _migrate(plan, dry_run, output)


def _forget_online() -> None:
    """Opening the store takes out of it what the project no longer declares."""
    from asgard_assets.ml.store import open_store

    with open_store():
        pass


def _migrate(plan: Callable[[Lake, dg.DagsterInstance], Migration], dry_run: bool, output: Output) -> None:
    import dagster as dg

    from asgard_assets.lake import Lake

    share_history()
    with dg.DagsterInstance.get() as instance:
        with looking("looking at the lake"):
            migration = plan(Lake.from_settings(), instance)
        if output is Output.text:
            console.print(migration.title, highlight=False)
            for step in migration.steps if dry_run else ():
                console.print(f"  · {step.what}", highlight=False)
        for done in () if dry_run else migration.carry_out():
            if output is Output.text:
                console.print(f"  [green]✓[/] {done}", highlight=False)
    if output is Output.json:
        steps = [step.what for step in migration.steps]
        print_json(
            {"change": migration.title, "steps": steps, "then": list(migration.then), "done": not dry_run}
        )
        return
    if not migration.steps:
        console.print("nothing to do: it is so already")
    elif dry_run:
        console.print("dry run: nothing was changed")
    for each in migration.then if migration.steps else ():
        console.print(f"then: {each}", highlight=False)
