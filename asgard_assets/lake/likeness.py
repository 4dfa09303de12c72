"""Whether a partition's rows changed: what decides if those who read it have to be built again.

Where a partition is new, or the number of its rows another, no file is read. Else the old and the new files are hashed
without regard to the order of rows, by one engine: no hash has to be kept, and none grows old with the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.lake import duck
from asgard_assets.lake.numbers import (
    code_id,
    publish_id,
    read_id,
    rows_id,
    rows_number,
    rows_of,
    with_foreign,
)
from asgard_assets.lake.reads import Reads, Stand
from asgard_assets.lake.sql import identifier, quoted

if TYPE_CHECKING:
    from asgard_assets.lake.store import Store


@dataclass(frozen=True)
class LivePart:
    """A Parquet file that readers see: its path in the log, its address, its day."""

    path: str
    uri: str
    day: str
    size: int
    rows: int


@dataclass
class Likeness:
    """Compares what a commit removes with what it adds. What was compared once is not read again by another try."""

    store: Store
    columns: Sequence[str]
    volatile: Collection[str] = ()
    _known: dict[tuple[str, ...], bool] = field(default_factory=dict[tuple[str, ...], bool])

    def changed(
        self,
        before: Mapping[str, Sequence[LivePart]],
        after: Mapping[str, Sequence[LivePart]],
        numbers: Mapping[str, int],
        columns: Collection[str],
    ) -> list[str]:
        """Days of `before` whose rows are others in `after`. A day never published is one too. `columns`: those of the
        table, before and after."""
        found = []
        for day, old in before.items():
            new = after.get(day, [])
            if not numbers.get(publish_id(day)):
                found.append(day)
            elif not self._alike(old, new, {*columns} != {*self.columns}):
                found.append(day)
        return found

    def _alike(self, old: Sequence[LivePart], new: Sequence[LivePart], other_columns: bool) -> bool:
        counted = [sum(part.rows for part in parts) for parts in (old, new)]
        if not any(counted):
            return True
        if other_columns or counted[0] != counted[1]:
            return False
        key = tuple(sorted(part.path for part in (*old, *new)))
        if key not in self._known:
            self._known[key] = self._hashed(old) == self._hashed(new)
        return self._known[key]

    def _hashed(self, parts: Sequence[LivePart]) -> Any:
        """A figure of the rows, or one that equals no other where they cannot be read."""
        import duckdb

        names = [name for name in self.columns if name not in self.volatile and name != "ds"]
        files = ", ".join(quoted(part.uri) for part in parts)
        row = ", ".join(map(identifier, names)) or "1"
        query = (
            f"select count(*), sum(hash({row})::hugeint), bit_xor(hash({row})) "
            f"from read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
        )
        try:
            with_keys = duck.connect(duck.reaching(self.store))
            try:
                return with_keys.execute(query).fetchone()
            finally:
                with_keys.close()
        except duckdb.Error:
            return object()


def built_from(
    table: str,
    table_id: str,
    present: Mapping[str, int],
    days: Sequence[str],
    changed: Collection[str],
    reads: Reads | None,
    foreign: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The transaction numbers that say how often each day's rows changed, what it was built from, and by which code.

    What other writers changed (`foreign`) is written down with them.
    """
    rows = with_foreign(rows_of(present), foreign or {})
    found = {rows_id(day): n for day, n in rows.items() if day in (foreign or {})}
    found |= {rows_id(day): rows.get(day, 0) + (day in changed) for day in days}
    # A number that stays is not written again: its time says since when the rows are as they are.
    found = {app: n for app, n in found.items() if present.get(app) != n}
    if reads is None:
        return found
    made = [day for day in days if reads.only is None or day in reads.only]
    if reads.edges or reads.outside:
        # Of its own other days, as they were read; of these, as this commit leaves them.
        before = reads.stands[table].rows if table in reads.stands else rows_of(present)
        after = {day: rows_number({**present, **found}, day) for day in days}
        own = Stand(table_id, {**before, **after})
        read = {read_id(day): n for day, n in reads.hashes(table, own, made).items()}
        if reads.outside:
            found = {rows_id(d): rows.get(d, 0) + (present.get(read_id(d)) != read[read_id(d)]) for d in made}
        found |= read
    if reads.code:
        found |= {code_id(day): reads.code for day in made}
    return found
