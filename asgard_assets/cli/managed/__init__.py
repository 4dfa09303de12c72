"""`asgard managed`: sources that were made through the API, and Git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.terminal import console, echo, print_json

managed = typer.Typer(
    help="Sources that were made through the API: into Git, or out of it.", no_args_is_help=True
)


@managed.command(name="list")
def list_(output: OutputOption = Output.text) -> None:
    """Name the sources that the API manages.

    Example: asgard managed list
    """
    from asgard_assets.lake import Lake
    from asgard_assets.operations.autoloader import git

    found = git.managed(Lake.from_settings())
    if output is Output.json:
        print_json([{"name": one.name, "type": one.kind, "workspace": one.workspace} for one in found])
        return
    for one in found:
        console.print(f"{one.name}  {one.kind}  {one.workspace}", markup=False)


@managed.command()
def export(
    name: Annotated[str, typer.Argument(help="Name of the ingestion.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of the defs.yaml; default: bronze/KIND/NAME below the project's defs."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="The API goes on managing it; the file is a copy.")
    ] = False,
) -> None:
    """Write a source's defs.yaml, to be committed. The API lets the source go; its table stays.

    Example: asgard managed export orders
    """
    from asgard_assets.lake import Lake
    from asgard_assets.operations.autoloader import git

    done = git.export(Lake.from_settings(), name, folder, keep)
    echo(f"wrote {done.path}" + ("; commit it: the API has let the source go" if done.handed_over else ""))


@managed.command()
def adopt(
    file: Annotated[Path, typer.Argument(help="The defs.yaml of one source.")],
    workspace: Annotated[str, typer.Option(help="Workspace that it will belong to.")] = "default",
) -> None:
    """Let the API manage a source of the project. Then delete its file: until that is gone, the file holds.

    Example: asgard managed adopt asgard_assets/defs/bronze/files/refunds/defs.yaml
    """
    from asgard_assets.lake import Lake
    from asgard_assets.operations.autoloader import git

    made = git.adopt(Lake.from_settings(), file, workspace)
    echo(f"the API manages {made.name}; delete {file}")
