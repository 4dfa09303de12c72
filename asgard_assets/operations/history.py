"""What past runs of a table took, and what that says about the next one. Measured, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

_EVENTS = 400


@dataclass
class PastRun:
    """One run's step: how long it took, and how much it did."""

    seconds: float
    partitions: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run will take, from so many past ones; `error` is by how much those were missed, mean share."""

    seconds: float
    runs: int
    error: float


@dataclass(frozen=True)
class History:
    """Past runs of one table, the newest first."""

    runs: Sequence[PastRun] = field(default_factory=list[PastRun])

    def estimate(self, unit: str, amount: float) -> Estimate | None:
        """Seconds for an amount of `unit` (bytes, requests, partitions …): fixed part and slope of past runs.

        None where no past run did any of it. Where past runs are all alike, a bigger run is taken to cost in
        proportion: that errs on the dear side.
        """
        done = [(float(getattr(run, unit)), run.seconds) for run in self.runs if getattr(run, unit)]
        if not done:
            return None
        fixed, slope = _line(done)
        guessed = [abs(fixed + slope * x - y) / y for x, y in done if y]
        return Estimate(fixed + slope * amount, len(done), fmean(guessed) if guessed else 0.0)

    def rows_per(self, unit: str) -> float | None:
        """Rows for one `unit`; None where nothing was measured."""
        total = sum(getattr(run, unit) for run in self.runs)
        return sum(run.rows for run in self.runs if getattr(run, unit)) / total if total else None

    def per_partition(self, unit: str) -> float | None:
        """How many of `unit` a partition had."""
        partitions = sum(run.partitions for run in self.runs if getattr(run, unit))
        return sum(getattr(run, unit) for run in self.runs) / partitions if partitions else None


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares with neither a negative fixed part nor a negative slope."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    spread = sum((x - fmean(xs)) ** 2 for x in xs)
    ratio = sum(ys) / sum(xs)
    if not spread:
        return 0.0, ratio
    slope = sum((x - fmean(xs)) * (y - fmean(ys)) for x, y in points) / spread
    fixed = fmean(ys) - slope * fmean(xs)
    if slope < 0:
        return fmean(ys), 0.0
    return (0.0, ratio) if fixed < 0 else (fixed, slope)


def history(instance: dg.DagsterInstance, key: dg.AssetKey) -> History:
    """The newest runs of the table as Dagster recorded them."""
    runs: dict[str, PastRun] = {}
    steps: dict[str, str] = {}
    for record in instance.fetch_materializations(key, limit=_EVENTS).records:
        entry = record.event_log_entry
        told = _figures(entry.asset_materialization.metadata if entry.asset_materialization else {})
        run = runs.setdefault(record.run_id, PastRun(0.0))
        steps.setdefault(record.run_id, entry.step_key or "")
        run.partitions += 1
        for name, value in told.items():
            setattr(run, name, getattr(run, name) + value)
    done = []
    for run_id, run in runs.items():
        for stats in instance.get_run_step_stats(run_id, [steps[run_id]] if steps[run_id] else None):
            if stats.start_time and stats.end_time:
                run.seconds = stats.end_time - stats.start_time
        if run.seconds > 0:
            done.append(run)
    return History(done)


def _figures(metadata: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for name, keys in {
        "rows": ("rows", "dagster/partition_row_count", "dagster/row_count"),
        "files": ("files",),
        "bytes": ("bytes",),
        "requests": ("requests",),
    }.items():
        for key in keys:
            value = getattr(metadata.get(key), "value", None)
            if isinstance(value, int | float):
                found[name] = int(value)
                break
    return found
