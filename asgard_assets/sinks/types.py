"""A table's columns in Postgres: their types, the statements that fill it, and what may become wider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from asgard_assets.errors import ConfigError
from asgard_assets.lake.sql import identifier

_TYPES = {
    "BOOLEAN": "boolean", "TINYINT": "smallint", "SMALLINT": "smallint", "INTEGER": "integer", "BIGINT": "bigint",
    "UTINYINT": "smallint", "USMALLINT": "integer", "UINTEGER": "bigint", "UBIGINT": "numeric(20,0)",
    "HUGEINT": "numeric(39,0)", "FLOAT": "real", "DOUBLE": "double precision", "VARCHAR": "text", "DATE": "date",
    "TIME": "time without time zone", "BLOB": "bytea", "UUID": "uuid", "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP_NS": "timestamp without time zone", "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}  # fmt: skip
_JSON = "jsonb"
_WIDER = (
    ("smallint", "integer", "bigint", "numeric"),
    ("real", "double precision"),
    ("date", "timestamp without time zone"),
)
_DECIMAL = re.compile(r"(?:DECIMAL|numeric)\((\d+),\s*(\d+)\)")


def postgres_type(duck: str) -> str:
    """The type for one of DuckDB's; nested ones become jsonb."""
    if match := _DECIMAL.fullmatch(duck):
        return f"numeric({match[1]},{match[2]})"
    return _TYPES.get(duck, _JSON)


@dataclass(frozen=True)
class Change:
    """A column that is added, or made wider."""

    column: str
    statement: str


@dataclass(frozen=True)
class Target:
    """A table of Postgres for columns with DuckDB's types. `key` names a row."""

    table: str
    columns: Mapping[str, str]
    key: Sequence[str]

    @property
    def types(self) -> dict[str, str]:
        return {name: postgres_type(kind) for name, kind in self.columns.items()}

    @property
    def place(self) -> str:
        """The table in SQL; its name may be a word of SQL, such as order."""
        return ".".join(map(identifier, self.table.split(".")))

    @property
    def created(self) -> str:
        """Makes schema and table where they are missing."""
        schema = identifier(self.table.partition(".")[0])
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in self.types.items())
        return (
            f"create schema if not exists {schema}; create table if not exists {self.place} "
            f"({columns}, primary key ({self._named(self.key)}))"
        )

    @property
    def staged(self) -> str:
        """Room for the rows of a partition, for one transaction."""
        return f"create temporary table asgard_stage (like {self.place} including defaults) on commit drop"

    @property
    def copied(self) -> str:
        return f"copy asgard_stage ({self._named(self.columns)}) from stdin"

    @property
    def selected(self) -> str:
        """The columns in DuckDB's SQL; nested ones as JSON."""
        return ", ".join(
            f"to_json({identifier(name)})::varchar" if kind == _JSON else identifier(name)
            for name, kind in self.types.items()
        )

    @property
    def upserted(self) -> str:
        """Writes rows that are new or others; equal ones are not touched."""
        others = [name for name in self.columns if name not in self.key]
        insert = (
            f"insert into {self.place} as old ({self._named(self.columns)}) select {self._named(self.columns)} "
            f"from asgard_stage on conflict ({self._named(self.key)})"
        )
        if not others:
            return f"{insert} do nothing"
        values = ", ".join(f"{identifier(name)} = excluded.{identifier(name)}" for name in others)
        before = ", ".join(f"old.{identifier(name)}" for name in others)
        after = ", ".join(f"excluded.{identifier(name)}" for name in others)
        return f"{insert} do update set {values} where row({before}) is distinct from row({after})"

    @property
    def deleted(self) -> str:
        """Removes rows that are not in the stage; a further condition says of which partition."""
        same = " and ".join(f"stage.{identifier(name)} = old.{identifier(name)}" for name in self.key)
        return (
            f"delete from {self.place} old where not exists (select 1 from asgard_stage stage where {same})"
        )

    def _named(self, names: Mapping[str, str] | Sequence[str]) -> str:
        return ", ".join(map(identifier, names))


def widened(target: Target, there: Mapping[str, str], sink: str) -> Iterator[Change]:
    """What makes the table fit. Raises ConfigError where a column would have to lose something."""
    for name, kind in target.types.items():
        if name not in there:
            yield Change(name, f"alter table {target.place} add column {identifier(name)} {kind}")
        elif there[name].replace(", ", ",") != kind and not _holds(there[name], kind):
            if not _holds(kind, there[name]):
                raise ConfigError(
                    f"{sink}: {target.table}.{name} is {there[name]} in Postgres, and {kind} in the lake. Change the column "
                    "there, or name another target",
                    field="target",
                )
            change = f"alter table {target.place} alter column {identifier(name)} type {kind}"
            yield Change(name, change)


def _holds(wide: str, narrow: str) -> bool:
    """Whether each value of `narrow` is one of `wide`."""
    if wide.replace(", ", ",") == narrow.replace(", ", ",") or wide == "text":
        return True
    large, small = _DECIMAL.fullmatch(wide), _DECIMAL.fullmatch(narrow)
    if large and small:
        scale = int(large[2]) >= int(small[2])
        return scale and int(large[1]) - int(large[2]) >= int(small[1]) - int(small[2])
    digits = {"smallint": 5, "integer": 10, "bigint": 19}
    if large and narrow in digits:
        return int(large[1]) - int(large[2]) >= digits[narrow]
    return any(wide in row and narrow in row and row.index(wide) >= row.index(narrow) for row in _WIDER)
