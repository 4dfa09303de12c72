"""One step of a stream in a process that kills itself: `python killed.py fetch FILE COUNT`, `… load NAME TOPIC PLACE`,
`… sink NAME`. PLACE: before or after the commit of the first batch."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.stream.fetch import fetch
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from asgard_assets.sinks.events import EventsSink, sink_events


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KillingLake(Lake):
    """Ends the process at the commit of the Bronze table."""

    place: str = ""

    def amend(self, staging: Any, *rest: Any, **named: Any) -> Any:
        if self.place == "before" and staging.stage == "bronze":
            end()
        done = super().amend(staging, *rest, **named)
        if self.place == "after" and staging.stage == "bronze":
            end()
        return done


def main(what: str, *rest: str) -> None:
    settings = Settings()
    if what == "fetch":
        file, count = rest
        sent = fetch(
            load(file), ["2026-10-05"], Kafka(settings.kafka), on_sent=lambda n: n == int(count) and end()
        )
        list(sent)
    elif what == "load":
        name, topic, place = rest
        source = StreamSource(name=name, topic=topic, description="Orders.", max_offsets_per_batch=150)
        catch_up(
            KillingLake(settings.lake_root, place=place), source, Kafka(settings.kafka), settings.calendar()
        )
    else:
        sink = EventsSink(
            name=rest[0], table=f"bronze/{rest[0]}", url="env:SRC_POSTGRES", target=f"raw.{rest[0]}"
        )
        url = os.environ["SRC_POSTGRES"]
        sink_events(Lake(settings.lake_root), sink, url, batch_rows=100, before_commit=lambda n: n and end())


if __name__ == "__main__":
    main(*sys.argv[1:])
