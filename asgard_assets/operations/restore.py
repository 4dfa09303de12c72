"""Make a table what it was at an earlier version, or moment, and tell Dagster which partitions changed by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import dagster as dg
    from deltalake import DeltaTable


@dataclass(frozen=True)
class ChangedDay:
    """A partition whose rows a restore changes: how many there are now, and how many there will be."""

    partition: str
    rows: int
    rows_then: int


@dataclass(frozen=True)
class Restore:
    """What a restore of `table` to `version` changes. `made_at`: when that version was published."""

    table: str
    version: int
    newest: int
    made_at: datetime
    changes: Sequence[ChangedDay]


def planned(lake: Lake, address: str, version: int | None = None, as_of: datetime | None = None) -> Restore:
    """What restoring the table "stage/table" would change. Give a version or a moment.

    Raises LakeError where the table does not exist, or that version is beyond its retention, naming the oldest one.
    """
    if (version is None) == (as_of is None):
        raise ConfigError("give either --version or --as-of")
    stage, _, name = address.replace(".", "/").partition("/")
    now = lake.table(stage, name) if name else None
    if now is None:
        near = ", ".join(f"{s}/{n}" for s, n in lake.tables() if name and n == name or s == stage)
        raise LakeError(
            f"there is no table {address}" + (f"; there are {near}" if near else ""), table=address
        )
    if as_of is not None:
        version = lake.version_at(stage, name, as_of)
        if version < 0:
            raise LakeError(f"{stage}/{name} was not there yet at {as_of.isoformat()}", table=address)
    assert version is not None
    then = lake.at(stage, name, version)
    made = next(entry for entry in then.history() if int(entry["version"]) == version)
    before, after = _rows(lake, now), _rows(lake, then)
    days = [ChangedDay(day, before[day], after[day]) for day in lake.days_since(now, then)]
    moment = datetime.fromtimestamp(int(made["timestamp"]) / 1000, UTC)
    return Restore(f"{stage}/{name}", version, now.version(), moment, days)


def restored(lake: Lake, plan: Restore, instance: dg.DagsterInstance) -> int:
    """Do it, and record each changed partition in Dagster, so that what reads it is asked for. Returns the new version."""
    import dagster as dg

    stage, _, name = plan.table.partition("/")
    version, days = lake.restore(stage, name, plan.version)
    rows = {change.partition: change.rows_then for change in plan.changes}
    for day in days:
        count = {"dagster/partition_row_count": rows[day]} if day and day in rows else {}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                [stage, name],
                partition=day or None,
                description=f"restored to version {plan.version}",
                metadata={"version": version, "restored_version": plan.version, **count},
            )
        )
    return version


def moment(text: str, zone: str) -> datetime:
    """The instant that a person writes: a date or a time, in the project's zone where it names none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--as-of {text!r} is no time; write 2026-10-12, 2026-10-12T06:30 or 2026-10-12T06:30+02:00"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))


def _rows(lake: Lake, table: DeltaTable) -> Counter[str]:
    counted = Counter[str]()
    for part in lake.parts(table):
        counted[part.day or ""] += part.rows
    return counted
