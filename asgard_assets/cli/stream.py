"""Commands of streams: fetch, stream, replay."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import ACT, Output, OutputOption, Partitions
from asgard_assets.cli.terminal import console, print_json, share_history
from asgard_assets.errors import AsgardError

if TYPE_CHECKING:
    from asgard_assets.ingest.stream.fetch import Fetched


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (fetch, stream, replay):
        app.command(rich_help_panel=ACT)(command)


def fetch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An API source with `sink: {kafka: …}`: its name, or its YAML file.",
            show_default=False,
        ),
    ],
    partitions: Partitions = "",
    again: Annotated[bool, typer.Option("--again", help="Send windows again that were sent.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until somebody stops it (SIGTERM, Ctrl-C).")
    ] = False,
    every_seconds: Annotated[float, typer.Option(min=0, help="--follow: seconds between two fetches.")] = 60,
    output: OutputOption = Output.text,
) -> None:
    """Ask an API and send its records to Kafka, without Spark and without Dagster.

    A fetch that is killed loses and doubles nothing: the next one goes on.

    Examples: asgard fetch orders, asgard fetch orders --follow --every-seconds 15
    """
    from asgard_assets.operations import fetching

    done = []
    if not follow:
        for one in fetching.fetch(source, partitions, again):
            done.append(one)
            if output is Output.text:
                _show(one)
        if output is Output.json:
            print_json(done)
        return
    for found in fetching.follow(source, every_seconds, _until_stopped()):
        _show(found)


def stream(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A KafkaIngest stream: its name, or its YAML file.", show_default=False
        ),
    ],
    every_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at the topic.")
    ] = 1,
    report_seconds: Annotated[
        float, typer.Option(min=1, help="At most so often Dagster is told of new rows.")
    ] = 15,
    alive: Annotated[
        Path | None,
        typer.Option(
            help="A file that is touched after each look, for a liveness probe.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a topic its Bronze table, until somebody stops it (SIGTERM, Ctrl-C). The batch at hand is ended first.

    It does what runs of the asset do, and both may go on from each other: offsets stand in the table.

    Example: asgard stream orders --every-seconds 2
    """
    import dagster as dg

    from asgard_assets.components.following.reads import declared_code
    from asgard_assets.ingest.stream.kafka import Kafka
    from asgard_assets.lake import Lake
    from asgard_assets.lake.reads import number
    from asgard_assets.operations.outside.streams import Follower, Pace, heartbeat, reporter, stream_of

    source, lake = stream_of(name), Lake.from_settings()
    share_history()
    with dg.DagsterInstance.get() as instance:
        follower = Follower(
            source,
            lake,
            Kafka.from_settings(),
            _until_stopped(),
            reporter(instance, lake, source),
            heartbeat(alive),
            Pace(every_seconds, report_seconds),
            number(declared_code(source)),
        )
        for found in follower.run():
            if isinstance(found, AsgardError):
                console.print(f"{found}", style="yellow", highlight=False, markup=False)
                continue
            bad = sum(found.quarantined.values())
            text = f"{source.table}: {sum(found.rows.values()):,} rows" + (
                f", {bad:,} in quarantine" if bad else ""
            )
            console.print(text, highlight=False, markup=False)


def _until_stopped() -> Callable[[], bool]:
    """Says whether somebody has asked this process to stop."""
    stop = list[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number))
    return lambda: bool(stop)


def replay(
    table: Annotated[
        str, typer.Argument(help="Table of a stream, such as bronze/orders.", show_default=False)
    ],
    first: Annotated[str, typer.Option("--from", help="First partition.", show_default=False)],
    last: Annotated[str, typer.Option("--to", help="Last partition; default: the first.")] = "",
    topic: Annotated[
        str, typer.Option(help="Topic to send to; default: the one that the rows came from.")
    ] = "",
    per_second: Annotated[
        float | None, typer.Option(min=0.001, help="At most so many records a second.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Send the rows of a stream's table to Kafka again, with their keys and times, and a header that says so.

    What reads them gets the same result: an older record never replaces a newer one.

    Example: asgard replay bronze/orders --from 2026-10-05 --to 2026-10-07 --topic events.again
    """
    from asgard_assets.operations import fetching

    sent, where = fetching.replay(table, first, last or first, topic, per_second)
    if output is Output.json:
        print_json({"table": table, "topic": where, "records": sent})
        return
    console.print(f"{table} → {where}: {sent:,} records", highlight=False, markup=False)


def _show(found: Fetched | AsgardError) -> None:
    if isinstance(found, AsgardError):
        console.print(f"{found}", style="yellow", highlight=False, markup=False)
        return
    told = "sent before" if found.skipped else f"{found.sent:,} records"
    extra = f", {found.unchanged:,} unchanged" if found.unchanged else ""
    extra += f", {found.refused:,} dead letters" if found.refused else ""
    text = f"{found.source} {found.window} → {found.topic}: {told}{extra}"
    console.print(text, highlight=False, markup=False)
