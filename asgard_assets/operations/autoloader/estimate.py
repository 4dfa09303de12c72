"""What an ingestion will cost a month: from listed files, a sampled read, its schedule, and declared prices.

After its first runs the seconds are those that they really took, and the last estimate is told its error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from asgard_assets.components.platform.definitions import ManagedDefinition, component_of
from asgard_assets.components.pulls import Pull
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.plan.listing import chosen, day_of
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.places import Place
from asgard_assets.operations.autoloader.trial import refuse_missing
from asgard_assets.operations.history import History
from asgard_assets.operations.outside.estimate import sample
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_DAYS, _HOURLY = 30, 24
_TICK_SECONDS = 30
_KEYS_PER_LIST = 1000
_FOLDER = "_managed/estimates"


@dataclass(frozen=True)
class Monthly:
    """Of a month: runs, what they read and store, and money. None: not known without a run."""

    runs: int
    bytes: int | None
    rows: int | None
    stored_bytes: int | None
    list_operations: int
    read_operations: int | None
    compute_cost: float | None
    storage_cost: float | None
    api_cost: float | None
    total_cost: float | None


@dataclass(frozen=True)
class CostEstimate:
    """What waits now, what a month brings, and which prices that rests on. `error_of_last`: by which share the last
    estimate missed the run after it; None: there was none."""

    files: int | None
    bytes: int | None
    rows: int | None
    seconds: float | None
    stored_bytes: int | None
    first_run_cost: float | None
    monthly: Monthly
    cluster: str
    basis: str
    sampled_files: int
    measured_runs: int
    error_of_last: float | None
    cost_per_dbu_hour: float
    storage_cost_per_gb: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Basis:
    """What an estimate looks at: the stores, the place to run, the prices, and past runs."""

    lake: Lake
    landing: Landing
    place: Place
    settings: Settings
    past: History
    now: datetime
    clock: Callable[[], float]


def estimate(one: ManagedDefinition, basis: Basis) -> CostEstimate:
    """Of a source that need not be made yet. Reads some files; writes nothing. Raises SourceError where nothing is listed."""
    if one.kind == "files":
        return _of_files(component_of(one).source, one, basis)
    runs = _runs_a_month(one, basis.now, ())
    known = basis.past.runs
    seconds = sum(run.seconds for run in known) / len(known) if known else None
    rows = round(sum(run.rows for run in known) / len(known)) if known else None
    compute = None if seconds is None else _compute(seconds, basis) * runs
    month = Monthly(
        runs, None, None if rows is None else rows * runs, None, 0, None, compute, None, 0.0, compute
    )
    notes = () if known else ("what a run takes is known after the first one",)
    first = None if seconds is None else _compute(seconds, basis)
    return _made(one, basis, (None, None, rows, seconds, None), first, month, 0, notes)


def _of_files(source: FileSource, one: ManagedDefinition, basis: Basis) -> CostEstimate:
    refuse_missing(basis.landing, source)
    listed = [file for file in walk(basis.landing, source) if chosen(source, file.path)]
    files = [file for file in listed if not source.begins_after(day_of(source, file) or "9999-12-31")]
    size = sum(file.size for file in files)
    taken, notes = sample(basis.landing, source, files, basis.clock)
    if not files:
        notes.append("no file lies there that the source reads: nothing can be estimated")
    rows, stored, read_seconds = taken.of(size)
    measured = basis.past.estimate("bytes", size)
    seconds = measured.seconds if measured else read_seconds + basis.place.start_seconds
    first = _compute(seconds, basis)
    month = _month(one, basis, files, taken.of, notes)
    known = (len(files), size, rows, seconds, stored)
    return _made(one, basis, known, first, month, taken.files, tuple(notes))


def _month(
    one: ManagedDefinition,
    basis: Basis,
    files: Sequence[File],
    of: Callable[[int], tuple[int, int, float]],
    notes: list[str],
) -> Monthly:
    """What comes in a month, if it goes on as the files that lie there came."""
    days = _span_days(files)
    share = _DAYS / days
    size = round(sum(file.size for file in files) * share)
    rows, stored, read = of(size)
    runs = _runs_a_month(one, basis.now, files)
    measured = basis.past.estimate("bytes", size / runs) if runs and size else None
    seconds = measured.seconds * runs if measured else read + basis.place.start_seconds * runs
    looks = runs if one.attributes.get("pull") else _DAYS * 86_400 // _TICK_SECONDS
    lists = looks * max(1, -(-len(files) // _KEYS_PER_LIST))
    reads = round(len(files) * share)
    settings = basis.settings
    remote = basis.landing.remote
    api = (
        (lists / 1000 * settings.list_cost_per_1000 + reads / 1000 * settings.read_cost_per_1000)
        if remote
        else 0.0
    )
    compute, storage = _compute(seconds, basis), stored / 1e9 * settings.storage_cost_per_gb
    if files:
        notes.append(
            f"the files came within {days:.0f} day{'' if days < 1.5 else 's'}; a month is reckoned from that"
        )
    return Monthly(runs, size, rows, stored, lists, reads, compute, storage, api, compute + storage + api)


def _made(
    one: ManagedDefinition, basis: Basis, known: tuple[int | None, int | None, int | None, float | None, int | None],
    first: float | None, month: Monthly, sampled: int, notes: tuple[str, ...],
) -> CostEstimate:  # fmt: skip
    files, size, rows, seconds, stored = known
    runs = len(basis.past.runs)
    return CostEstimate(
        files, size, rows, seconds, stored, first, month, basis.place.id,
        "past runs" if runs else "a sampled read", sampled, runs, error_of_last(one.name, basis),
        basis.settings.cost_per_dbu_hour, basis.settings.storage_cost_per_gb, notes,
    )  # fmt: skip


def _compute(seconds: float, basis: Basis) -> float:
    return seconds / 3600 * basis.place.dbu_per_hour * basis.settings.cost_per_dbu_hour


def _span_days(files: Sequence[File]) -> float:
    """How long the files took to come: a day at least."""
    times = [file.modified_us for file in files]
    return max(1.0, (max(times) - min(times)) / 86_400e6) if times else float(_DAYS)


def _runs_a_month(one: ManagedDefinition, now: datetime, files: Sequence[File]) -> int:
    """Ticks of the schedule; of a source that is looked at all the time, so often as files came."""
    told = one.attributes.get("pull")
    if isinstance(told, dict):
        pull = Pull.model_validate(told)
        daily = pull.count(now - timedelta(days=1), now, "UTC")  # to count 43,200 minutes takes seconds
        return daily * _DAYS if daily >= _HOURLY else pull.count(now - timedelta(days=_DAYS), now, "UTC")
    slots = {file.modified_us // (_TICK_SECONDS * 1_000_000) for file in files}
    return round(len(slots) * _DAYS / _span_days(files)) if slots else 0


def note(lake: Lake, name: str, made: CostEstimate, now: datetime) -> None:
    """Write an estimate down, so that the run after it can say how good it was."""
    if made.seconds is None or not made.bytes:
        return
    told = {"at": now.timestamp(), "seconds": made.seconds, "bytes": made.bytes}
    lake.put(f"{_FOLDER}/{name}.json", json.dumps(told).encode())


def error_of_last(name: str, basis: Basis) -> float | None:
    """By which share the last estimate missed the newest run, for as many bytes as that read."""
    try:
        told = json.loads(basis.lake.get(f"{_FOLDER}/{name}.json"))
    except (FileNotFoundError, ValueError):
        return None
    newest = next((run for run in basis.past.runs if run.bytes and run.seconds), None)
    if newest is None or not told["bytes"]:
        return None
    guessed = told["seconds"] * newest.bytes / told["bytes"]
    return abs(guessed - newest.seconds) / newest.seconds
