"""One table of the lake: its columns, some rows, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import identifier, type_name
from asgard_assets.operations.autoloader.trial import plain
from asgard_assets.telemetry.facts import TableFact
from asgard_assets.transforms import managed


@dataclass(frozen=True)
class TableView:
    """`updated`: when it changed last, ISO 8601. `reads`: tables it is made from, where its definition in the lake says so."""

    table: str
    rows: int
    bytes: int
    partitions: int
    version: int
    updated: str
    columns: tuple[Mapping[str, str], ...]
    sample: tuple[Mapping[str, Any], ...]
    reads: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [one["column"] for one in self.columns]


def table_view(
    lake: Lake, table: str, fact: TableFact | None, masked: frozenset[str], limit: int = 20
) -> TableView:
    """Of a table as stage/name. Values of `masked` columns are hidden. Raises NotFoundError where there is no such table."""
    import pyarrow as pa

    stage, _, name = table.partition("/")
    delta = lake.table(stage, name) if (stage, name) in lake.tables() else None
    if delta is None:
        raise NotFoundError(f"there is no table {stage}.{name}")
    fields = pa.schema(delta.schema().to_arrow())
    with lake.connect(tables=[f"{stage}/{name}"]) as connection:
        query = f"select * from {identifier(stage)}.{identifier(name)} limit {limit:d}"
        rows = connection.execute(query).to_arrow_table().to_pylist()
    return TableView(
        f"{stage}/{name}", fact.rows if fact else 0, fact.bytes if fact else 0, fact.partitions if fact else 0,
        lake.version(stage, name), _time(fact.published_at if fact else None),
        tuple({"column": field.name, "type": type_name(field.type)} for field in fields),
        tuple(plain(row, masked) for row in rows), _reads(lake, stage, name),
    )  # fmt: skip


def _reads(lake: Lake, stage: str, name: str) -> tuple[str, ...]:
    try:
        found = managed.load(lake, name).transform
    except ConfigError:
        return ()
    return tuple(view.table or view.folder for view in found.reads) if found.stage == stage else ()


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
