"""Everything that monitoring asks for, read at once. A part that cannot be read spoils no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.lake import Lake
from asgard_assets.operations.metrics.history import History
from asgard_assets.operations.metrics.slots import slots
from asgard_assets.operations.metrics.tables import Tables
from asgard_assets.settings import Settings
from asgard_assets.telemetry.facts import Facts

if TYPE_CHECKING:
    import dagster as dg

log = logging.getLogger(__name__)
_KAFKA_SECONDS = 5.0


class Watch:
    """Reads the facts; at most once in `seconds`, whoever asks. One reading serves all who ask meanwhile."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        lake: Lake,
        kafka: Kafka,
        transforms: Callable[[], dict[str, int]] = dict,
        databases: Mapping[str, str] | None = None,
        seconds: float = 2.0,
    ) -> None:
        self._history, self._tables = History(instance), Tables(lake)
        self._kafka = Kafka(kafka.servers, kafka.options, _KAFKA_SECONDS)
        self._transforms, self._databases, self._seconds = transforms, databases or {}, seconds
        self._lock, self._read_at, self._facts = threading.Lock(), 0.0, Facts()

    def facts(self) -> Facts:
        """The facts, at most `seconds` old."""
        with self._lock:
            if not self._read_at or time.monotonic() - self._read_at >= self._seconds:
                self._facts = self._read()
                self._read_at = time.monotonic()
            return self._facts

    def _read(self) -> Facts:
        began, unread = time.monotonic(), dict[str, str]()

        def read(part: str, how: Callable[[], Sequence[Any]]) -> Sequence[Any]:
            try:
                return how()
            except Exception as error:  # noqa: BLE001  monitoring tells of what is broken, whatever it is
                unread[part] = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("metrics: %s cannot be read: %s", part, unread[part])
                return ()

        made = read("history", self._history.made)
        runs = read("history", self._history.runs)
        tables = read("lake", self._tables.facts)
        lags = read("streams", lambda: self._tables.lags(self._kafka))
        held = read("databases", lambda: slots(self._databases))
        waiting = self._transforms()
        return Facts(runs, made, tables, lags, held, waiting, unread, time.monotonic() - began)


def watch_of(settings: Settings, instance: dg.DagsterInstance) -> Watch:
    """The watch over a deployment: its history, its lake, its brokers, what its API was asked for."""
    from asgard_assets.operations.transforms.follow import Runs
    from asgard_assets.operations.transforms.shared import submissions_of

    runs = Runs(submissions_of(settings), instance)
    lake, kafka = Lake.from_settings(settings), Kafka.from_settings(settings)
    return Watch(instance, lake, kafka, lambda: runs.totals().by_state, settings.watched_postgres)
