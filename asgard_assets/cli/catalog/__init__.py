"""`asgard catalog`: the catalogs that follow the lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.terminal import Terminal, console, looking, print_json

if TYPE_CHECKING:
    from asgard_assets.catalogs.receipts import Followed
    from asgard_assets.catalogs.registration import Failed

catalog = typer.Typer(
    help="The catalogs that follow the lake (Iceberg, Hive Metastore): how far they are, sync, and publish.",
    no_args_is_help=True,
)


@catalog.command()
def state(output: OutputOption = Output.text) -> None:
    """Show for each table which Delta version the lake has, and which the catalogs. Exit code 1 if one is behind.

    Example: asgard catalog state
    """
    from rich.table import Table

    from asgard_assets.catalogs.registration import place, standings, wanted_by
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    lake = Lake.from_settings()
    with looking("reading the lake"):
        settings = Settings()
        found = [
            each
            for kind, tables in wanted_by(settings).items()
            for each in standings(lake, kind, tables, place=place(settings, kind))
        ]
    if output is Output.json:
        print_json([asdict(each) | {"current": each.current} for each in found])
    else:
        shown = Table("catalog", "table", "lake", "catalog", "", box=None, pad_edge=False)
        for each in found:
            waits = f"version {each.held} waits for asgard catalog publish" if each.held >= 0 else ""
            shown.add_row(
                each.catalog,
                each.table,
                _version(each.lake_version),
                _version(each.catalog_version),
                waits if each.current else "behind",
            )
        nothing = "no table fits ASGARD_ICEBERG_TABLES or ASGARD_HIVE_TABLES"
        if not wanted_by(Settings()):
            nothing = "no catalog is set: ASGARD_ICEBERG, ASGARD_HIVE_METASTORE (docs/catalogs.md)"
        console.print(shown if found else nothing)
    if any(not each.current for each in found):
        raise typer.Exit(1)


@catalog.command()
def sync(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables as stage/name. Default: all that the settings name, and those that the lake no longer has.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Bring the catalogs to what the lake has. It may be repeated and interrupted. Exit code 1 if a table cannot follow.

    Example: asgard catalog sync gold/order_metrics
    """
    from asgard_assets.catalogs.registration import catalog_of, chosen, opened, wanted_by
    from asgard_assets.catalogs.registration import sync as followed
    from asgard_assets.errors import ConfigError
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    settings, lake = Settings(), Lake.from_settings()
    kinds = wanted_by(settings)
    if wrong := [each for each in tables or () if each.count("/") != 1]:
        raise ConfigError(f"{wrong[0]!r} names no table; write stage/name, such as gold/order_metrics")
    if not kinds:
        catalog_of(settings, lake)  # says what to set
    done = list[dict[str, Any]]()
    for kind, patterns in kinds.items():
        following = opened(settings, lake, kind)
        for each in followed(lake, following, tables or chosen(lake, following, patterns)):
            done.append(_told(kind, each, output))
    _end(done, output)


@catalog.command()
def publish(
    tables: Annotated[list[str], typer.Argument(help="Tables as stage/name, whose branches are merged.")],
    output: OutputOption = Output.text,
) -> None:
    """Audit tables on their Nessie branches and merge them, with ASGARD_ICEBERG_MERGE=by_hand.

    Example: asgard catalog publish gold/order_metrics
    """
    from asgard_assets.catalogs.branches import AuditedCatalog
    from asgard_assets.catalogs.registration import opened, sync
    from asgard_assets.errors import ConfigError
    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    settings, lake = Settings(), Lake.from_settings()
    found = opened(settings, lake, "iceberg")
    if not isinstance(found, AuditedCatalog):
        raise ConfigError(
            "tables have no branches: set ASGARD_ICEBERG_AUDIT, such as audit (docs/catalogs.md)"
        )
    at_once = AuditedCatalog(found.main, found.prefix, by_hand=False)
    _end([_told("iceberg", each, output) for each in sync(lake, at_once, tables)], output)


def _told(kind: str, each: Followed | Failed, output: Output) -> dict[str, Any]:
    from asgard_assets.catalogs.registration import Failed

    if output is Output.text and isinstance(each, Failed):
        text = f"{kind} {each.table}: {each.reason}"
        Terminal(stderr=True).print(text, style="red", markup=False, soft_wrap=True)
    elif output is Output.text and not isinstance(each, Failed):
        version = each.version if each.held < 0 else each.held
        console.print(
            f"{kind} {each.table}: {each.done}, version {version}, {each.rows} rows in {each.seconds:.1f} s"
        )
    return {"catalog": kind} | asdict(each)


def _end(done: list[dict[str, Any]], output: Output) -> None:
    if output is Output.json:
        print_json(done)
    if any("reason" in each for each in done):
        raise typer.Exit(1)


def _version(number: int) -> str:
    return "-" if number < 0 else str(number)
