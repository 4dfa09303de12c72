"""Commands of monitoring: metrics."""

from __future__ import annotations

import typer

from asgard_assets.cli.options import LOOK
from asgard_assets.cli.telemetry.metrics import metrics


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=LOOK)(metrics)
