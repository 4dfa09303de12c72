"""`asgard catalog`: the Iceberg catalog that follows the lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.terminal import Terminal, console, looking, print_json

catalog = typer.Typer(
    help="The Iceberg catalog that follows the lake: how far it is, and sync.", no_args_is_help=True
)


@catalog.command()
def state(output: OutputOption = Output.text) -> None:
    """Show for each table which Delta version the lake has, and which the catalog. Exit code 1 if one is behind.

    Example: asgard catalog state
    """
    from rich.table import Table

    from asgard_assets.catalogs.registration import standings
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    with looking("reading the lake"):
        found = standings(Lake.from_settings(), Settings().iceberg_tables)
    if output is Output.json:
        print_json([asdict(each) | {"current": each.current} for each in found])
    else:
        shown = Table("table", "lake", "catalog", "", box=None, pad_edge=False)
        for each in found:
            shown.add_row(
                each.table,
                _version(each.lake_version),
                _version(each.catalog_version),
                "" if each.current else "behind",
            )
        console.print(shown if found else "no table fits ASGARD_ICEBERG_TABLES")
    if any(not each.current for each in found):
        raise typer.Exit(1)


@catalog.command()
def sync(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables as stage/name. Default: all of ASGARD_ICEBERG_TABLES.", show_default=False
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Bring the catalog to what the lake has. It may be repeated and interrupted. Exit code 1 if a table cannot follow.

    Example: asgard catalog sync gold/order_metrics
    """
    from asgard_assets.catalogs.registration import Failed, catalog_of, standings
    from asgard_assets.catalogs.registration import sync as followed
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    settings, lake = Settings(), Lake.from_settings()
    chosen = tables or [each.table for each in standings(lake, settings.iceberg_tables)]
    done = list[object]()
    failed = False
    for each in followed(lake, catalog_of(settings, lake), chosen):
        done.append(asdict(each))
        failed |= isinstance(each, Failed)
        if output is Output.json:
            continue
        if isinstance(each, Failed):
            Terminal(stderr=True).print(
                f"{each.table}: {each.reason}", style="red", markup=False, soft_wrap=True
            )
        else:
            console.print(
                f"{each.table}: {each.done}, version {each.version}, {each.rows} rows in {each.seconds:.1f} s"
            )
    if output is Output.json:
        print_json(done)
    if failed:
        raise typer.Exit(1)


def _version(number: int) -> str:
    return "-" if number < 0 else str(number)
