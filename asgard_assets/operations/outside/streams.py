"""`asgard stream`: a topic becomes its table for ever, by the same code as a run of the asset."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from asgard_assets import project
from asgard_assets.errors import AsgardError, ConfigError, Transient
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import CaughtUp, NoTopicError, catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

log = logging.getLogger(__name__)
_KIND = "KafkaIngest"
_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Pace:
    """How often the topic is looked at, and how often Dagster is told."""

    every_seconds: float = 1.0
    report_seconds: float = 15.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Follower:
    """One stream that is followed. `tell` gets what was published since it was told last; `alive` after each look."""

    source: StreamSource
    lake: Lake
    kafka: Kafka
    stopped: Callable[[], bool]
    tell: Callable[[CaughtUp], None] = lambda told: None
    alive: Callable[[], None] = lambda: None
    pace: Pace = field(default_factory=Pace)
    code: int = 0

    def run(self) -> Iterator[CaughtUp | AsgardError]:
        """Publish what comes until `stopped`; gives what each look published, and errors that may pass.

        A stop lets the batch at hand end. Errors that will not pass are raised. What was published is told before
        the end, however it comes.
        """
        untold, told_at, wait = CaughtUp(), self.pace.clock(), self.pace.every_seconds
        calendar = Settings().calendar(self.source.every, self.source.time_zone)
        try:
            while not self.stopped():
                try:
                    found = catch_up(
                        self.lake, self.source, self.kafka, calendar, code=self.code, stopped=self.stopped
                    )
                    wait = self.pace.every_seconds
                except AsgardError as error:
                    if not isinstance(error, Transient | NoTopicError):
                        raise
                    wait = min(max(wait, 1.0) * 2, _LONGEST_WAIT)
                    yield error
                else:
                    self.alive()
                    if found.batches:
                        untold.add(found)
                        yield found
                if untold.batches and self.pace.clock() - told_at >= self.pace.report_seconds:
                    self.tell(untold)
                    untold, told_at = CaughtUp(), self.pace.clock()
                self._rest(wait)
        finally:
            if untold.batches:
                self.tell(untold)

    def _rest(self, seconds: float) -> None:
        until = self.pace.clock() + seconds
        while not self.stopped() and (left := until - self.pace.clock()) > 0:
            self.pace.sleep(min(left, 0.5))


def reporter(instance: dg.DagsterInstance, lake: Lake, source: StreamSource) -> Callable[[CaughtUp], None]:
    """Tells Dagster of windows and checks as a run of the asset would. A history that is away costs a line of the log."""

    def tell(told: CaughtUp) -> None:
        from asgard_assets.components.stream.caught_up import events

        try:
            for event in events(lake, source, told):
                instance.report_runless_asset_event(event)
        except Exception as error:  # noqa: BLE001  whatever its database raises
            log.warning("%s: Dagster was not told of %d batches: %s", source.name, told.batches, error)

    return tell


def heartbeat(path: Path | None) -> Callable[[], None]:
    """Marks a file as written now: what a liveness probe looks at."""
    return (lambda: path.touch()) if path else lambda: None


def stream_of(target: str) -> StreamSource:
    """The stream in a YAML file, or of that name in the project. Raises ConfigError."""
    if Path(target).suffix in (".yaml", ".yml", ".json"):
        files = [Path(target)]
        if not files[0].exists():
            raise ConfigError(f"there is no file {target}")
    else:
        files = sorted(project.current().defs.rglob("defs.yaml"))
    found = {source["name"]: source for file in files for source in _declared(file)}
    name = next(iter(found), "") if len(found) == 1 and Path(target).suffix else target
    if name not in found:
        raise ConfigError(f"there is no stream {target}; there are: {', '.join(sorted(found)) or 'none'}")
    return StreamSource.model_validate(found[name])


def _declared(file: Path) -> Iterator[Mapping[str, Any]]:
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if isinstance(document, dict) and str(document.get("type", "")).endswith(f".{_KIND}"):
            yield document.get("attributes") or {}
