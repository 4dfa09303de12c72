"""`asgard metrics`: what `/metrics` of the gateway says, for those who run none."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from asgard_assets.cli.terminal import console, echo, share_history


def metrics(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Serve them under /metrics at this port until somebody stops it.",
                     show_default="print them once"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="--port: address to listen on. Whoever reaches it can read the figures.")
    ] = "127.0.0.1",
) -> None:  # fmt: skip
    """Figures for Prometheus: runs, durations, rows, requests, lag of streams, quarantine, age of tables.

    `asgard serve` answers the same under /metrics. A part that cannot be read has asgard_metrics_unread 1.

    Examples: asgard metrics, asgard metrics --port 9108
    """
    import dagster as dg

    from asgard_assets.operations.metrics.serve import serving
    from asgard_assets.operations.metrics.watch import watch_of
    from asgard_assets.settings import Settings
    from asgard_assets.telemetry.exposition import exposition

    share_history()
    with dg.DagsterInstance.get() as instance:
        watch = watch_of(Settings(), instance)
        if port is None:
            echo(exposition(watch.facts()).rstrip())
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with serving(watch, host, port) as address:
            console.print(f"figures for Prometheus at {address}", highlight=False, markup=False)
            stop.wait()
