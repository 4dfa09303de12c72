"""A Delta table at one version, as another catalog copies it: its columns, its partitions, its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from asgard_assets.lake import Lake, duck
from asgard_assets.lake.snapshot import Snapshot
from asgard_assets.lake.sql import identifier, quoted

if TYPE_CHECKING:
    import pyarrow as pa

Part = Mapping[str, "str | None"]
"""Values of a table's partition columns, as Delta writes them."""

_SPELT = ("string", "integer", "long", "short", "byte", "date", "boolean")
_AT_ONCE = 50  # partitions that one statement reads
_ROWS = 1_000_000  # that are held at once


class Source:
    """Read by DuckDB, whatever is committed meanwhile. Close it."""

    def __init__(self, lake: Lake, table: str, snapshot: Snapshot):
        assert snapshot.delta is not None
        self.stage, _, self.name = table.partition("/")
        self.snapshot, self._delta = snapshot, snapshot.delta
        self.partitioned_by = list(self._delta.metadata().partition_columns)
        self._connection = lake.workbench(tables=())
        self._scan = lake.delta_scan(self.stage, self.name, f"version={snapshot.version}")

    def close(self) -> None:
        self._connection.close()

    @cached_property
    def columns(self) -> dict[str, str]:
        """Names and Delta types."""
        return {field.name: json.dumps(_type_of(field.type)) for field in self._delta.schema().fields}

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as rows have them."""
        return self._reader("limit 0").schema

    def changed_since(self, version: int) -> list[Part] | None:
        """Partitions of which rows changed after `version`; None where the log does not go back so far, or the table
        has none that can be named."""
        if not self._named:
            return None
        found = self.snapshot.log.changed(version, self.snapshot.version)
        return None if found is None else list(found)

    def partitions(self) -> list[Part] | None:
        """None for a table without, and for one of which they cannot be named."""
        return [dict(found) for found in self._delta.partitions()] if self._named else None

    @cached_property
    def _named(self) -> bool:
        """Whether partition values have one spelling for all. A moment has not: such a table is always copied whole."""
        kinds = [json.loads(self.columns[column]) for column in self.partitioned_by]
        return bool(kinds) and all(
            isinstance(kind, str) and (kind in _SPELT or kind.startswith("decimal")) for kind in kinds
        )

    def count(self) -> int:
        """How many rows the table has."""
        found = self._connection.execute(f"select count(*) from {self._scan}").fetchone()
        assert found is not None
        return int(found[0])

    def rows(self, parts: Sequence[Part] | None) -> Iterator[pa.Table]:
        """Rows of some partitions, of None all: at most a million at a time."""
        if parts is None:
            yield from self._tables("")
            return
        for at in range(0, len(parts), _AT_ONCE):
            wanted = " or ".join(f"({_where(part)})" for part in parts[at : at + _AT_ONCE])
            yield from self._tables(f"where {wanted}")

    def fingerprint(self, parts: Sequence[Part] | None) -> tuple[int, int]:
        """Of the rows of some partitions, of None all: see `fingerprint` below."""
        import pyarrow as pa

        batches = (batch for rows in self.rows(parts) for batch in rows.to_batches())
        return fingerprint(pa.RecordBatchReader.from_batches(self.schema, batches), self.columns)

    def _tables(self, clause: str) -> Iterator[pa.Table]:
        import pyarrow as pa

        held, count = list[pa.RecordBatch](), 0
        for batch in self._reader(clause):
            held.append(batch)
            count += batch.num_rows
            if count >= _ROWS:
                yield pa.Table.from_batches(held)
                held, count = [], 0
        if count:
            yield pa.Table.from_batches(held)

    def _reader(self, clause: str) -> pa.RecordBatchReader:
        statement = f"select * from {self._scan} {clause}"
        return self._connection.execute(statement).to_arrow_reader(100_000)


def _where(part: Part) -> str:
    return " and ".join(
        f"{identifier(column)} is null"
        if value is None
        else f"{identifier(column)}::varchar = {quoted(value)}"
        for column, value in part.items()
    )


def _type_of(kind: object) -> object:
    return json.loads(kind.to_json())  # pyright: ignore[reportAttributeAccessIssue]


def fingerprint(rows: pa.RecordBatchReader, columns: Iterable[str]) -> tuple[int, int]:
    """How many rows there are, and a number that is the same for the same rows in any order."""
    with duck.connect() as connection:
        connection.register("rows", rows)
        named = ", ".join(identifier(column) for column in columns)
        found = connection.execute(
            f"select count(*), coalesce(sum(hash(row({named})::varchar)::hugeint), 0) from rows"
        ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])
