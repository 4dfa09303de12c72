"""The demo: customer churn from three kinds of source to predictions.

Every step is `dagster asset materialize …`, called in this process so that all of them share one Spark
session. A step asks only for what Dagster's history does not have yet: a second demo finds nothing to do, and
one that was killed goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from asgard_assets.demo.interrupts import interruptible
from asgard_assets.demo.report import collect, print_predictions, print_tables
from asgard_assets.demo.sources import demo_sources, use_demo_calendar, write_landing_files
from asgard_assets.demo.steps import missing_steps, progress, run_step
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

_LOCK = "demo.lock"

__all__ = ["alone", "demo_sources", "forget", "run_demo", "use_demo_calendar"]


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the home against a second demo. Raises ConfigError where one runs, or nothing can be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / _LOCK).open("a")
    except OSError as error:
        raise ConfigError(
            f"{home} cannot be written ({error.strerror}): set ASGARD_HOME to a folder that can"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another demo is running on {home}: wait for it, or give this one a home and ports of its own "
                "(ASGARD_HOME, ASGARD_DEMO_API_URL, ASGARD_AIRBYTE_URL)"
            ) from error
        yield


def forget(home: Path) -> None:
    """Remove everything that earlier demos left; the home must be held."""
    for path in home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def run_demo(settings: Settings) -> None:
    """Run what is missing, then print tables, predictions and what to try next.

    What Spark, dbt and Dagster have to say goes to `logs/demo.log` in the home.
    """
    import dagster as dg

    started = time.monotonic()
    with (
        _others_to_log(settings.home.absolute() / "logs" / "demo.log") as console,
        dg.DagsterInstance.get() as instance,
    ):
        steps = missing_steps(instance)
        if steps:
            # Outside for what comes before the steps; inside so that the sources are ended in peace.
            with interruptible(), demo_sources(settings), interruptible():
                write_landing_files(settings)
                for number, step in enumerate(steps, 1):
                    with progress(console, instance, f"[{number}/{len(steps)}] {step.title}"):
                        run_step(step, instance)
        else:
            console.print("Everything is materialized: 0 requests sent, 0 tables written.")
        print_tables(console, collect(instance, settings))
        print_predictions(console, Lake.from_settings(settings))
        console.print(f"\n[bold]{time.monotonic() - started:.0f} s.[/] Next:")
        console.print("  make dev     the Dagster UI on this data, http://127.0.0.1:3000")
        console.print('  .venv/bin/asgard sql "select * from gold.customer_metrics limit 5"    ask the lake')
        console.print("  make test    the tests")
        console.print(
            "  docs/tutorial.md    add a source, a Silver table, a Gold model, a feature view, a model"
        )


@contextmanager
def _others_to_log(path: Path) -> Iterator[Console]:
    """A console on the terminal, while everybody else's output, the JVM's included, goes to a file."""
    from rich.console import Console

    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(1), os.dup(2)]
    with os.fdopen(os.dup(1), "w") as terminal, path.open("ab") as log_file:
        wide = None if terminal.isatty() else 110
        try:
            for stream in (1, 2):
                os.dup2(log_file.fileno(), stream)
            yield Console(file=terminal, width=wide)
        finally:
            for stream, original in zip((1, 2), kept, strict=True):
                os.dup2(original, stream)
                os.close(original)
