"""Commands of monitoring: metrics, lineage."""

from __future__ import annotations

import typer

from asgard_assets.cli.options import LOOK
from asgard_assets.cli.telemetry.lineage import lineage
from asgard_assets.cli.telemetry.metrics import metrics


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (lineage, metrics):
        app.command(rich_help_panel=LOOK)(command)
