"""What is known of a run's rejected rows, read from their staged files: no Spark job is spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets import strangers
from asgard_assets.lake import Lake, Staging
from asgard_assets.transforms.slices import Slices
from asgard_assets.windows import value_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_ROWS, _SAMPLE_WIDTH = 10, 120


@dataclass(frozen=True)
class Rejects:
    """Per day: rows that were read, and rejected rows by reason (the value that did not parse left out)."""

    read: Mapping[str, int]
    by_day: Mapping[str, Mapping[str, int]]
    sample: str

    @property
    def total(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.by_day.values())

    def reasons(self) -> dict[str, int]:
        """Rejected rows of all days by reason, the most frequent first."""
        counted: Counter[str] = Counter()
        for reasons in self.by_day.values():
            counted.update(reasons)
        return dict(counted.most_common())

    def rates(self) -> dict[str, float]:
        """Share of the rows read that was rejected, by day; 0 for a day without rows."""
        return {day: sum(self.by_day[day].values()) / max(self.read[day], 1) for day in self.by_day}


def rejects(
    lake: Lake,
    staged: Staging,
    sources: Sequence[tuple[str, str]],
    named: Mapping[tuple[str, str], Callable[[str], str]] | None = None,
    slices: Slices | None = None,
) -> Rejects:
    """Count the staged rejects of each day against the rows that the source tables have for it.

    `named` gives the day that a partition of a source belongs to, where that is not its own name. `slices`: how the
    table and its sources are cut beside time.
    """
    import pyarrow.parquet as pq

    by_day: dict[str, dict[str, int]] = {}
    shown: list[tuple[str, str, str]] = []
    for day, uris in sorted(lake.staged_files(staged).items()):
        counted: Counter[str] = Counter()
        for uri in uris:
            rows = pq.read_table(uri, filesystem=lake.filesystem, columns=["record", "reason"])
            counted.update(reason.partition(": ")[0] for reason in rows["reason"].to_pylist())
            shown += _lines(day, rows.slice(0, _SAMPLE_ROWS - len(shown)))
        by_day[day] = dict(counted.most_common())
    read = {day: 0 for day in by_day}
    for stage, name in sources:
        name_of = (named or {}).get((stage, name), str)
        counts: Counter[tuple[str, str]] = Counter()
        for key, rows in _row_counts(lake, stage, name).items():
            counts[name_of(window_of(key)), value_of(key)] += rows
        for day, rows in (slices or Slices()).rows_read(f"{stage}/{name}", read, counts).items():
            read[day] += rows
    table = strangers.table(("ds", "reason", "record"), shown)
    return Rejects(read, by_day, table if shown else "No row was rejected.")


def _row_counts(lake: Lake, stage: str, name: str) -> dict[str, int]:
    """Rows of each partition from the Delta log, without reading a file."""
    counts: dict[str, int] = {}
    for part in lake.live(stage, name):
        counts[part.day or ""] = counts.get(part.day or "", 0) + part.rows
    return counts


def _lines(day: str, rows: pa.Table) -> list[tuple[str, str, str]]:
    def cell(text: str) -> str:
        return text if len(text) <= _SAMPLE_WIDTH else text[: _SAMPLE_WIDTH - 1] + "…"

    return [
        (day, cell(reason), cell(record))
        for reason, record in zip(rows["reason"].to_pylist(), rows["record"].to_pylist(), strict=True)
    ]
