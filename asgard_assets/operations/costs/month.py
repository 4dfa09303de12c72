"""The costs of a month as a table of the lake, `platform/costs`: it outlives Dagster's history, which is purged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from asgard_assets.lake import DS, Lake
from asgard_assets.operations.costs.figures import Cost

if TYPE_CHECKING:
    import pyarrow as pa

STAGE, NAME = "platform", "costs"


def keep(lake: Lake, found: Sequence[Cost], zone: str) -> list[str]:
    """Write runs into their months, each once: what a month has is kept, where history knows it no more. Returns the months."""
    import pyarrow as pa

    months = dict[str, dict[tuple[str, str], dict[str, Any]]]()
    for cost in found:
        months.setdefault(f"{cost.started_at.astimezone(ZoneInfo(zone)):%Y-%m-01}", {})[
            cost.run_id, cost.table
        ] = asdict(cost)
    keys, seen = sorted(months), lake.epochs(STAGE, NAME, sorted(months))
    if not keys:
        return []
    for row in rows(lake, keys):
        months[row.pop(DS)].setdefault((row["run_id"], row["table"]), row)
    schema = _schema()
    staging = lake.stage(STAGE, NAME, schema, keys, seen)
    everything = [{**row, DS: month} for month, runs in months.items() for row in runs.values()]
    lake.write(staging, pa.Table.from_pylist(everything, schema=schema))
    lake.publish(staging)
    return keys


def rows(lake: Lake, months: Sequence[str]) -> list[dict[str, Any]]:
    """What the table has of these months, written 2026-10-01."""
    if lake.table(STAGE, NAME) is None:
        return []
    with lake.connect(tables=[f"{STAGE}/{NAME}"]) as connection:
        chosen = ", ".join(f"'{month}'" for month in months)
        return (
            connection.execute(f"select * from {STAGE}.{NAME} where ds in ({chosen})")
            .to_arrow_table()
            .to_pylist()
        )


def of_month(lake: Lake, found: Sequence[Cost], start: datetime) -> list[Cost]:
    """The runs of a month: those that history knows, and those that only the table has."""
    known = {(cost.run_id, cost.table): cost for cost in found}
    for row in rows(lake, [f"{start:%Y-%m-01}"]):
        row.pop(DS)
        known.setdefault((row["run_id"], row["table"]), Cost(**row))
    return sorted(known.values(), key=lambda cost: (cost.started_at, cost.table))


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "datetime": pa.timestamp("us", "UTC"),
    }
    return pa.schema([*((field.name, types[str(field.type)]) for field in fields(Cost)), (DS, pa.string())])
