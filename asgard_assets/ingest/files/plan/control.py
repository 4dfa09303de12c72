"""What a person decided about a source: paused or not, and which batches to ask for once more.

One small JSON file a source, `_control/<source>.json` under the lake's root, read by every tick. It is no ledger:
losing it resumes the source.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from asgard_assets.lake import Lake

SOURCE_TAG = "asgard/source"
"""Tag of the Dagster runs that load a source; its value is the source's name."""


@dataclass(frozen=True)
class Pause:
    """Since when, why and by whom a source is paused."""

    since: str
    reason: str = ""
    by: str = ""

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        return f"paused since {self.since}{by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Control:
    """`attempt` is part of every run key: a higher one asks again for batches whose runs failed."""

    pause: Pause | None = None
    attempt: int = 0
    alerted: str = ""


def read_control(lake: Lake, source: str) -> Control:
    """What was decided; the default where nothing was."""
    try:
        told = json.loads(lake.get(_path(source)))
    except FileNotFoundError:
        return Control()
    pause = told.get("pause")
    return Control(Pause(**pause) if pause else None, told.get("attempt", 0), told.get("alerted", ""))


def pause(lake: Lake, source: str, reason: str = "", by: str = "", now: datetime | None = None) -> Pause:
    """Start no more runs for the source. Pausing twice keeps the first time and reason."""
    control = read_control(lake, source)
    if control.pause is not None:
        return control.pause
    since = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    made = Pause(since, reason, by)
    _write(lake, source, replace(control, pause=made))
    return made


def resume(lake: Lake, source: str) -> bool:
    """Let runs start again. False where the source was not paused."""
    control = read_control(lake, source)
    if control.pause is None:
        return False
    _write(lake, source, replace(control, pause=None))
    return True


def retry(lake: Lake, source: str) -> int:
    """Ask once more for batches whose runs failed; the sensor's next tick does. Returns the attempt's number."""
    control = read_control(lake, source)
    _write(lake, source, replace(control, attempt=control.attempt + 1))
    return control.attempt + 1


def note_alert(lake: Lake, source: str, problem: str) -> None:
    """Remember the problem that the owner was told of, so that it is told once; '' where there is none any more."""
    _write(lake, source, replace(read_control(lake, source), alerted=problem))


def _path(source: str) -> str:
    return f"_control/{source}.json"


def _write(lake: Lake, source: str, control: Control) -> None:
    lake.put(_path(source), json.dumps(asdict(control)).encode())
