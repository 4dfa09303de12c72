"""The quarantine of an ingestion: files and records that could not be loaded, as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from asgard_assets.ingest.files.plan.quarantine import STAGE
from asgard_assets.lake import Lake

_RAW = 2000


@dataclass(frozen=True)
class Quarantined:
    """A record, or a whole file, that could not be loaded. `row`: its position from 0; `raw`: its first 2,000 characters."""

    file: str
    kind: str
    row: int | None
    reason: str
    raw: str
    partition: str
    quarantined_at: str


@dataclass(frozen=True)
class Quarantine:
    """How many there are, by file, and some of them."""

    total: int
    files: Mapping[str, int]
    records: tuple[Quarantined, ...]

    def without_raw(self) -> Quarantine:
        """For who may not see the data: the records' own text may hold anything."""
        return replace(self, records=tuple(replace(one, raw="***") for one in self.records))


def quarantine_of(lake: Lake, name: str, limit: int, offset: int = 0, file: str = "") -> Quarantine:
    """Those of one file, or of all. Empty where nothing is in quarantine."""
    if lake.table(STAGE, name) is None:
        return Quarantine(0, {}, ())
    with lake.connect(tables=[f"{STAGE}/{name}"]) as connection:
        table, chosen, given = f'"{STAGE}"."{name}"', "where file = ?" if file else "", [file] if file else []
        counted = connection.execute(
            f"select file, count(*) from {table} {chosen} group by 1 order by 1", given
        )
        files = {path: int(count) for path, count in counted.fetchall()}
        shown = f'select file, kind, "row", reason, raw, ds, quarantined_at from {table} {chosen} order by file, "row"'
        rows = connection.execute(f"{shown} limit {limit:d} offset {offset:d}", given).fetchall()
    records = tuple(
        Quarantined(path, kind, row, reason or "", (raw or "")[:_RAW], ds or "", f"{at:%Y-%m-%dT%H:%M:%SZ}")
        for path, kind, row, reason, raw, ds, at in rows
    )
    return Quarantine(sum(files.values()), files, records)
