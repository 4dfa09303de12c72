"""Counts what models are asked, beside the answers: requests wait for nothing."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asgard_assets.errors import AsgardError
from asgard_assets.ml.served.notes import Notes
from asgard_assets.ml.served.tally import Column, Shadow, Tally, added, counted

log = logging.getLogger(__name__)
SECONDS = 10.0
_MOST_WAITING = 500
_Place = tuple[str, int]


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


@dataclass
class Recorder:
    """`trained`: the bins of a version's training set, asked once. Frames are counted by `flush`, every ten seconds."""

    notes: Notes
    trained: Callable[[str, int], Mapping[str, Column]]
    day: Callable[[], str] = today
    writer: str = field(default_factory=lambda: secrets.token_hex(4))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _waiting: dict[_Place, list[Any]] = field(default_factory=dict[_Place, list[Any]])
    _rows: dict[_Place, int] = field(default_factory=dict[_Place, int])
    _shadows: dict[_Place, Shadow] = field(default_factory=dict[_Place, Shadow])
    _tallies: dict[tuple[str, int, str], Tally] = field(default_factory=dict[tuple[str, int, str], Tally])
    _bins: dict[_Place, Mapping[str, Column]] = field(default_factory=dict[_Place, Mapping[str, Column]])
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def asked(self, model: str, version: int, frame: Any, shadow: Shadow | None = None) -> None:
        """A version has predicted the rows of `frame`. Of very many, rows are counted and their values are not."""
        place = (model, version)
        with self._lock:
            waiting = self._waiting.setdefault(place, [])
            if len(waiting) < _MOST_WAITING:
                waiting.append(frame)
            self._rows[place] = self._rows.get(place, 0) + len(frame)
            if shadow is not None:
                known = Tally(shadow=self._shadows.get(place))
                self._shadows[place] = added(known, Tally(shadow=shadow)).shadow or shadow
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="served", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Count what waits, and write it."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                rows, self._rows = self._rows, {}
                shadows, self._shadows = self._shadows, {}
            for (model, version), count in rows.items():
                place, day = (model, version), self.day()
                fresh = Tally(
                    rows=count,
                    columns=self._counted(place, waiting.get(place, [])),
                    shadow=shadows.get(place),
                )
                known = self._tallies.get((*place, day), Tally())
                whole = self._tallies[*place, day] = added(known, fresh)
                self.notes.write(model, version, day, self.writer, whole)

    def close(self) -> None:
        """Write what is left. It can be used again after."""
        self._stop.set()
        self._told(self.flush)
        with self._lock:
            self._thread, self._stop = None, threading.Event()

    def _work(self) -> None:
        stop = self._stop
        while not stop.wait(SECONDS):
            self._told(self.flush)

    def _told(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (AsgardError, OSError) as error:
            log.warning("what models were asked is not in the lake: %s", error)

    def _counted(self, place: _Place, frames: list[Any]) -> dict[str, Column]:
        if place not in self._bins:
            self._bins[place] = self.trained(*place)
        known = self._bins[place]
        if not frames or not known:
            return dict(known)
        import pandas as pd

        whole, found = pd.concat(frames), dict[str, Column]()
        for name, column in known.items():
            values = pd.to_numeric(whole[name], errors="coerce") if name in whole.columns else []
            found[name] = column.model_copy(update={"served": counted(values, column.edges)})
        return found
