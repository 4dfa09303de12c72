"""One micro-batch on its way into the lake: staged, audited, and published together with its offsets.

The next offset of each partition is a transaction number of the table (Delta protocol). The commit that adds the rows
moves it, and is refused where it is not the one that the batch began at. So a batch is there as a whole or not at all,
whoever died when; there is no checkpoint to lose. The quarantine counts by itself: a batch that was killed between
the two commits brings its bad records once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import FencedError, QualityError
from asgard_assets.ingest.stream.kafka import Span, Topic
from asgard_assets.ingest.stream.table import (
    BAD_COLUMNS,
    QUARANTINE,
    columns_of,
    offset_id,
    positions,
    schema_of,
)
from asgard_assets.lake import DS, Lake, Published, Staging
from asgard_assets.quality.audit import Audit, audit
from asgard_assets.quality.tables import TableSpec
from asgard_assets.windows import slice_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.stream.records import Rows


@dataclass
class Batch:
    """Rows of some spans, staged beside the table and its quarantine. `seen`: the table's offsets when it began."""

    lake: Lake
    spec: TableSpec
    topic: Topic
    spans: Sequence[Span]
    seen: Mapping[int, int]
    staging: Staging
    bad: Staging
    code: int = 0
    """The version of the YAML that the records were read by."""
    days: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _after: Mapping[int, int] = field(default_factory=dict)  # up to which the quarantine has its bad records

    @classmethod
    def open(
        cls,
        lake: Lake,
        spec: TableSpec,
        topic: Topic,
        spans: Sequence[Span],
        seen: Mapping[int, int],
        day: str,
        second: str = "",
    ) -> Batch:
        """Room for the batch; `day` is today's window, or a slice of it by the column `second`."""
        schema = schema_of(columns_of(second))
        staging = lake.stage(spec.stage, spec.name, schema, [day], dimension=second)
        day = window_of(day)
        bad = lake.stage(QUARANTINE, spec.name, schema_of(BAD_COLUMNS), [day])
        after = positions(lake, QUARANTINE, spec.name, topic)
        return cls(lake, spec, topic, spans, seen, staging, bad, _after=after)

    def add(self, rows: Rows) -> None:
        """Stage a piece of the batch."""
        rows.bad = [row for row in rows.bad if row[3] >= self._after.get(row[2], 0)]
        rows.dead = [one for one in rows.dead if one[0].offset >= self._after.get(one[0].partition, 0)]
        good, bad = rows.tables()
        self.staging = self._write(self.staging, good, self.days)
        if bad.num_rows:
            self.reasons.update(str(reason).partition(":")[0] for reason in bad["reason"].to_pylist())
            self.bad = self._write(self.bad, bad, Counter())

    def _write(self, staging: Staging, rows: pa.Table, days: Counter[str]) -> Staging:
        """The staging with the days of these rows."""
        if not rows.num_rows:
            return staging
        keys = rows[DS].to_pylist()
        if staging.dimension:
            keys = [*map(slice_of, keys, rows[staging.dimension].to_pylist())]
        found = Counter[str](keys)
        days.update(found)
        self.lake.write(replace(staging, days=tuple(found)), rows)
        return replace(staging, days=tuple(dict.fromkeys([*staging.days, *found])))

    def publish(self, metadata: Mapping[str, Any]) -> tuple[Audit, Published | None]:
        """Audit, then commit the quarantine and the table. None where another run published these offsets first.

        Raises QualityError where a blocking check fails: nothing is published, and the next run reads it again.
        """
        found = self._audit()
        if found.bad_days:
            self.discard()
            told = "; ".join(f"{day} ({', '.join(checks)})" for day, checks in found.bad_days.items())
            raise QualityError(
                f"{self.staging.table}: the batch breaks a check in {told}. Nothing of it was published, and its offsets "
                "did not move. Make the check a warning, or let Silver reject the rows",
                table=self.staging.table,
                days=tuple(found.bad_days),
            )
        try:
            if self.reasons:
                self._commit(self.bad, self._plans(self._after), metadata)
            return found, self._commit(self.staging, self._plans(self.seen), metadata)
        except FencedError:
            self.discard()
            return found, None

    def _audit(self) -> Audit:
        """Of the windows that have rows; others are as they were."""
        if not self.days:
            return Audit(
                self.staging.table,
                {},
                {check.name: {} for check in self.spec.all_checks},
                self.spec.all_checks,
            )
        return audit(self.lake, replace(self.staging, days=tuple(self.days)), self.spec)

    def _commit(
        self, staging: Staging, plans: Mapping[str, tuple[int, int]], metadata: Mapping[str, Any]
    ) -> Published:
        days = [day for day, files in self.lake.staged_files(staging).items() if files]
        return self.lake.amend(
            staging, lambda live: {}, plans, days, metadata, volatile=self.spec.volatile, code=self.code
        )

    def _plans(self, seen: Mapping[int, int]) -> dict[str, tuple[int, int]]:
        return {
            offset_id(self.topic, span.partition): (seen.get(span.partition, -1) + 1, span.end + 1)
            for span in self.spans
            if span.end > seen.get(span.partition, -1)
        }

    def discard(self) -> None:
        """Remove what is staged."""
        for staging in (self.staging, self.bad):
            self.lake.discard(staging)
