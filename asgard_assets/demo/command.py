"""`asgard demo`: this repository's own command, named in pyproject.toml."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    fresh: Annotated[bool, typer.Option(help="Delete the data and history of earlier demos first.")] = False,
) -> None:
    """Run the churn demo: from three kinds of source to predictions, over 28 days and three model cut-offs.

    Asks Dagster only for what is missing: a second call finds nothing to do.

    Example: asgard demo --fresh
    """
    from asgard_assets.cli.terminal import share_history
    from asgard_assets.demo import alone, forget, run_demo, use_demo_calendar
    from asgard_assets.settings import Settings

    use_demo_calendar()
    settings = Settings()
    with alone(settings.home.absolute()):
        if fresh:
            forget(settings.home)
        share_history()
        run_demo(settings)
