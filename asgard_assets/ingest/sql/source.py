"""What a team writes about a database: how to reach it, and which of its tables and queries become Bronze tables."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from asgard_assets.ingest.api.source.schemes import SecretRef
from asgard_assets.ingest.files.source.models import TECHNICAL as FILE_COLUMNS
from asgard_assets.ingest.files.source.models import SchemaMode
from asgard_assets.lake.numbers import source_name
from asgard_assets.quality.tables import (
    PARTITIONS_TEXT,
    ZONE_TEXT,
    Check,
    Column,
    Model,
    Slices,
    TableSpec,
    TimeZone,
)
from asgard_assets.windows import Every

TECHNICAL = {name: FILE_COLUMNS[name] for name in ("_rescued_data", "_ingested_at")} | {
    "_row": Column(
        type="bigint", description="Number of the row within its load; only in tables without a key."
    ),
    "ds": Column(type="string", description="Window of the row."),
}
"""Columns that the loader adds; those of the database that are named so are refused."""
VOLATILE = ("_ingested_at", "_row")
_NAME = r"^[a-z][a-z0-9_]*$"
_LATER = {"sqlserver": "SQL Server", "mssql": "SQL Server", "oracle": "Oracle"}
_PARTS = re.compile(r"(\d+(?:\.\d+)?) (second|minute|hour|day)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class _Server(Model):
    host: str = Field(min_length=1, description="Name or address of the server, or of its read replica.")
    database: str = Field(min_length=1, description="Name of the database.")
    user: str = Field(min_length=1, description="User; it needs no more than the right to read.")
    password: SecretRef | None = Field(
        default=None,
        description="Password, by reference: env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY.",
    )
    ca: str | None = Field(
        default=None, description="File with the certificates that the server's must be signed by."
    )


class PostgresServer(_Server):
    """A Postgres database."""

    type: Literal["postgres"]
    port: int = Field(default=5432, ge=1, le=65535, description="Port of the server.")
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="Whether the connection is encrypted, as libpq's sslmode says it."
    )


class MySqlServer(_Server):
    """A MySQL or MariaDB database."""

    type: Literal["mysql", "mariadb"]
    port: int = Field(default=3306, ge=1, le=65535, description="Port of the server.")
    tls: Literal["disable", "require", "verify-full"] = Field(
        default="disable",
        description="disable: plain. require: encrypted. verify-full: encrypted, and the certificate must be the host's.",
    )


Server = Annotated[PostgresServer | MySqlServer, Field(discriminator="type")]


class Snapshot(Model):
    """Each run reads the whole table; its rows replace those of the window that it is now."""

    type: Literal["snapshot"] = "snapshot"


class Windows(Model):
    """Each run reads the rows whose `column` lies in the window that is asked for; they replace the window's rows."""

    type: Literal["windows"]
    column: str = Field(description="Column of type date or timestamp that says in which window a row is.")


class Incremental(Model):
    """Each run reads what changed since the last one. The table has one row for each key, the newest."""

    type: Literal["incremental"]
    cursor: str = Field(
        description="Column that grows with each change, such as updated_at or a number: integer, decimal, date, timestamp, text."
    )
    overlap: str | int | float = Field(
        default=0,
        description="How far behind the last cursor a run begins, for rows that were committed late: `10 minutes`, `2 days`, or a number.",
    )
    deletes: Literal["keep", "compare"] = Field(
        default="keep",
        description="compare: each run also reads all keys; rows whose key is gone leave the table. keep: they stay.",
    )

    @field_validator("overlap")
    @classmethod
    def _is_an_amount(cls, overlap: str | float) -> str | float:
        if isinstance(overlap, str) and not _PARTS.fullmatch(overlap):
            raise ValueError(
                f"invalid overlap {overlap!r}; use `30 seconds`, `10 minutes`, `2 hours`, `1 day`, or a number"
            )
        if not isinstance(overlap, str) and overlap < 0:
            raise ValueError("an overlap cannot be negative")
        return overlap

    @property
    def overlap_seconds(self) -> float | None:
        """The overlap as a time; None where it is a number."""
        found = _PARTS.fullmatch(str(self.overlap))
        return float(found[1]) * _SECONDS[found[2]] if found else None


How = Annotated[Snapshot | Windows | Incremental, Field(discriminator="type")]


class Split(Model):
    """A table that is read in parts, by ranges of a key, all in one snapshot."""

    column: str = Field(description="Column of an integer type, best the primary key.")
    ranges: int = Field(default=8, ge=2, le=1000, description="Into how many ranges.")


class SqlTable(Model):
    """A table, view or query of the database, and the Bronze table that it becomes."""

    table: str | None = Field(
        default=None, description="Table or view, such as orders or sales.orders. Either this or `query`."
    )
    query: str | None = Field(
        default=None,
        description="A query of your own, instead of `table`. It runs in a read-only transaction.",
    )
    name: str | None = Field(
        default=None, pattern=_NAME, description="Name in Bronze. Default: prefix and the table's own name."
    )
    description: str | None = Field(default=None, description="What one row is, for the catalog.")
    key: tuple[str, ...] = Field(
        default=(),
        description="Columns that name a row, such as the primary key. An incremental table needs one.",
    )
    load: How = Field(default_factory=Snapshot, description="snapshot, windows or incremental.")
    columns: tuple[str, ...] = Field(default=(), description="Columns to read. Default: all.")
    exclude: tuple[str, ...] = Field(
        default=(), description="Columns not to read, such as those with personal data."
    )
    split: Split | None = Field(default=None, description="Read the table in ranges, by several connections.")
    schema_mode: SchemaMode = Field(
        default="addNewColumns",
        description="What to do with a column that the Bronze table does not have: add it, keep it in _rescued_data (rescue), "
        "fail (failOnNewColumns), or ignore it (none).",
    )
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions that every row or window must meet."
    )

    @model_validator(mode="after")
    def _reads_one_thing(self) -> Self:
        if bool(self.table) == bool(self.query):
            raise ValueError("give one of `table` and `query`")
        if self.query and not self.name:
            raise ValueError("a query needs a `name` for its Bronze table")
        if isinstance(self.load, Incremental) and not self.key:
            raise ValueError(
                "`load: incremental` needs a `key`: by it, a row that is read again replaces the earlier one"
            )
        if self.columns:
            needed = [*self.key, *_columns_of(self.load), *([self.split.column] if self.split else [])]
            if lacking := [name for name in needed if name not in self.columns]:
                raise ValueError(f"`columns` lacks {', '.join(lacking)}, which key, load or split name")
        if taken := [name for name in (*self.key, *self.columns) if name.lower() in TECHNICAL]:
            raise ValueError(f"{', '.join(taken)}: the loader adds columns of these names itself")
        return self


def _columns_of(load: Snapshot | Windows | Incremental) -> list[str]:
    if isinstance(load, Windows):
        return [load.column]
    return [load.cursor] if isinstance(load, Incremental) else []


class SqlSource(Model):
    """A database: tables, views and queries of it become Bronze tables, one asset each."""

    name: str = Field(pattern=_NAME, description="Name of the source.")
    database: Server = Field(
        description="The server: type (postgres, mysql, mariadb), host, port, database, user, password."
    )
    tables: tuple[SqlTable, ...] = Field(min_length=1, description="What is read.")
    db_schema: str | None = Field(
        default=None,
        alias="schema",
        description="Schema of tables that are named without one. Postgres; default: public.",
    )
    prefix: str = Field(
        default="",
        pattern=r"^([a-z][a-z0-9_]*)?$",
        description="Text before the Bronze names of tables, such as shop_.",
    )
    every: Every = Field(default="day", description="The tables' windows: hour, day, week or month.")
    time_zone: TimeZone = Field(default="", description=ZONE_TEXT)
    partitions: Slices = Field(default_factory=dict, description=PARTITIONS_TEXT)
    connections: int = Field(
        default=1,
        ge=1,
        le=32,
        description="How many connections one table is read with, where it has a `split`.",
    )
    pool: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_:.-]+$",
        description="Dagster pool of the source's runs: its limit says how many tables are read at once. Default: sql:NAME.",
    )
    statement_timeout_seconds: float = Field(
        default=3600, ge=0, description="A statement that takes longer is ended by the server; 0: none is."
    )
    chunk_mb: int = Field(
        default=8, ge=1, le=512, description="Megabytes of text that are held of each connection."
    )
    owners: tuple[str, ...] = Field(
        default=(), description="Owners: team:billing or an e-mail address. Default: ASGARD_OWNER."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the assets.")
    fresh_hours: float = Field(
        default=26, gt=0, description="A table older than this many hours is shown as stale."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )

    @field_validator("database", mode="before")
    @classmethod
    def _is_built(cls, told: Any) -> Any:
        kind = told.get("type") if isinstance(told, dict) else None
        if kind in _LATER:
            raise ValueError(f"{_LATER[kind]} is not built yet; there are postgres, mysql and mariadb")
        return told

    @model_validator(mode="after")
    def _slices_have_windows(self) -> Self:
        wrong = [self.bronze_name(t) for t in self.tables if isinstance(t.load, Incremental)]
        if self.partitions and wrong:
            raise ValueError(
                f"partitions: {', '.join(wrong)} goes on from one cursor, which knows no {self.second}; use `load: windows` or "
                "`load: snapshot`, or a source of its own for each value"
            )
        return self

    @property
    def second(self) -> str:
        """The column that cuts the tables beside time; '' if there is none."""
        return next(iter(self.partitions), "")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        return source_name(name)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for name, count in Counter(map(self.bronze_name, self.tables)).items():
            if count > 1:
                raise ValueError(f"{count} tables would become bronze/{name}; give one of them a `name`")
            if not re.fullmatch(_NAME, name):
                raise ValueError(
                    f"bronze/{name} cannot be a table's name; give it a `name` of a-z, 0-9 and _"
                )
            source_name(name)
        return self

    def bronze_name(self, table: SqlTable) -> str:
        """The table's name in Bronze."""
        own = (table.table or "").rpartition(".")[2]
        return table.name or self.prefix + re.sub(r"[^a-z0-9_]", "_", own.lower())

    def named(self, name: str) -> SqlTable:
        """The table that becomes bronze/NAME."""
        return next(table for table in self.tables if self.bronze_name(table) == name)

    @property
    def reads(self) -> str:
        """Where it reads, without user and password."""
        return f"{self.database.type}://{self.database.host}:{self.database.port}/{self.database.database}"

    @property
    def _second_column(self) -> dict[str, Column]:
        return (
            {self.second: Column(type="string", description="Cuts the table, beside time.")}
            if self.second
            else {}
        )

    def spec(self, table: SqlTable) -> TableSpec:
        """The Bronze table's contract."""
        origin = table.table or "a query"
        return TableSpec(
            stage="bronze",
            name=self.bronze_name(table),
            description=table.description or f"Rows of {origin} in {self.database.database}.",
            key=table.key or ("_row",),
            columns={
                **self._second_column,
                **{n: c for n, c in TECHNICAL.items() if n != "_row" or not table.key},
            },
            checks=table.checks,
            owners=self.owners,
            tags={"source": self.name, **self.tags},
            kinds=("mysql" if self.database.type == "mariadb" else self.database.type, "delta"),
            every=self.every,
            time_zone=self.time_zone,
            fresh_hours=self.fresh_hours,
            retries=self.retries,
            volatile=VOLATILE,
        )
