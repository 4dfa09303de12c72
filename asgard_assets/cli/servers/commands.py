"""The commands `asgard serve`, `asgard mcp` and `asgard ui`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from asgard_assets.cli.servers.beside import Page
from asgard_assets.settings import Settings


def serve(
    port: Annotated[int, typer.Option(help="Port of the API.")] = 8000,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
) -> None:
    """Serve the REST API: sources, sinks, ingestions and transforms. Its pages are at /docs.

    Example: asgard serve --port 8000
    """
    from asgard_assets.cli.terminal import share_history
    from asgard_assets.gateway.serve import serve as run

    share_history()
    run(host, port)


def mcp(
    writes: Annotated[bool, typer.Option("--writes", help="Let tools change things, as far as the account's role allows.")] = False,
    http: Annotated[bool, typer.Option("--http", help="Serve over HTTP at /mcp, each request with its own key, instead of stdin and stdout.")] = False,
    port: Annotated[int, typer.Option(help="With --http: port.")] = 8010,
    host: Annotated[str, typer.Option(help="With --http: address to listen on.")] = "127.0.0.1",
) -> None:  # fmt: skip
    """Serve what the REST API can do as tools for agents (Model Context Protocol). Without --writes, they only read.

    Example: asgard mcp --http --port 8010
    """
    from asgard_assets.cli.terminal import share_history
    from asgard_assets.gateway.agents.serve import serve_agents

    share_history()
    serve_agents(writes, http, host, port)


def ui(
    name: Annotated[Page, typer.Argument(help="Whose pages.")],
    port: Annotated[int, typer.Option(help="Port of the pages.")],
    host: Annotated[str, typer.Option(help="Address that they listen on.")] = "127.0.0.1",
) -> None:
    """Serve the pages of MLflow or Feast, which have no login: the REST API shows them behind its own (ASGARD_UIS).

    Example: asgard ui mlflow --port 5000
    """
    from asgard_assets.operations.uis.serve import serve_ui

    serve_ui(name.value, Settings(), host, port, dict(os.environ))


def register(app: typer.Typer, panel: str) -> None:
    """Add the commands to `asgard`."""
    for command in (serve, mcp, ui):
        app.command(rich_help_panel=panel)(command)
