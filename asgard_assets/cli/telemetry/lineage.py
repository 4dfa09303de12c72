"""`asgard lineage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.terminal import console, looking, print_json, share_history

if TYPE_CHECKING:
    from asgard_assets.operations.lineage.way import Way
    from asgard_assets.telemetry.lineage.columns import Edge


def lineage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TABLE[.COLUMN]",
            help="A table, such as gold/order_metrics, or one of its columns.",
            show_default=False,
        ),
    ],
    output: OutputOption = Output.text,
) -> None:
    """Where a column comes from, back to the API's field, and what is made of it, up to features and models.

    Columns of dbt models are read from their SQL once they have run. Elsewhere a column is followed by its name.

    Example: asgard lineage gold/order_metrics.unpaid
    """
    import dagster as dg

    from asgard_assets.lake import Lake
    from asgard_assets.operations.lineage.way import way
    from asgard_assets.operations.sources import load_definitions

    share_history()
    with looking("reading the project"), dg.DagsterInstance.get() as instance:
        found = way(load_definitions(), instance, Lake.from_settings(), target)
    if output is Output.json:
        print_json(found)
        return
    for one in found:
        _show(one)


def _show(found: Way) -> None:
    console.print(f"{found.table}.{found.column}", style="bold", highlight=False, markup=False)
    for title, edges, forward in (("made of", found.made_of, False), ("used by", found.used_by, True)):
        console.print(f"  {title}" if edges else f"  {title}: nothing", highlight=False, markup=False)
        for edge in edges:
            console.print(_line(edge, forward), highlight=False, markup=False)


def _line(edge: Edge, forward: bool) -> str:
    table, column = (edge.table, edge.column) if forward else (edge.of_table, edge.of_column)
    return f"  {'  ' * (edge.depth + 1)}{table}.{column}  ({edge.how})"
