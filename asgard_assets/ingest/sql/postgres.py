"""Postgres: one snapshot for all sessions, rows by COPY, types without loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.source.types import clean_name
from asgard_assets.ingest.sql.errors import AwayError, StatementTimeoutError
from asgard_assets.ingest.sql.fields import Field, Session
from asgard_assets.ingest.sql.source import PostgresServer

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST, _LAST = "0001-01-01", "9999-12-31"
_SETTINGS = (
    "set time zone 'UTC'", "set datestyle = 'ISO, MDY'", "set intervalstyle = 'iso_8601'", "set bytea_output = 'hex'",
    "set extra_float_digits = 1", "set lc_monetary = 'C'",
)  # fmt: skip
_NUMERIC, _BYTEA, _DATE, _TIMESTAMP, _TIMESTAMPTZ = 1700, 17, 1082, 1114, 1184
# Postgres's own numbers of types that a table has too; of the others the text is kept.
_PLAIN = {16: "bool_", 21: "int16", 23: "int32", 20: "int64", 26: "int64", 700: "float32", 701: "float64"}
_MOST_DIGITS = 38


@dataclass
class Postgres:
    """A Postgres database as a source. `timeout_seconds`: of a statement; 0: none."""

    server: PostgresServer
    password: str | None
    source: str
    timeout_seconds: float = 3600
    notes: list[str] = field(default_factory=list[str])

    @contextmanager
    def sessions(self, count: int, relation: str) -> Iterator[Sequence[Session]]:
        """Sessions that all see the state at which the first one began."""
        with ExitStack() as stack:
            first = stack.enter_context(self._session())
            snapshot = first.row("select pg_export_snapshot()")[0] if count > 1 else None
            others = [stack.enter_context(self._session(snapshot)) for _ in range(count - 1)]
            yield [first, *others]

    @contextmanager
    def _session(self, snapshot: str | None = None) -> Iterator[_Session]:
        with self._told(), closing(self._connect()) as connection:
            session = _Session(connection, self)
            connection.autocommit = True  # the transaction is our own, with its snapshot
            for setting in _SETTINGS:
                session.run(setting)
            session.run("begin transaction isolation level repeatable read read only")
            if snapshot:
                session.run(f"set transaction snapshot '{snapshot}'")
            yield session

    def _connect(self) -> Any:
        import psycopg2

        server = self.server
        timeout = (
            f"-c statement_timeout={int(self.timeout_seconds * 1000)} -c default_transaction_read_only=on"
        )
        return psycopg2.connect(
            host=server.host, port=server.port, dbname=server.database, user=server.user, password=self.password,
            sslmode=server.tls, sslrootcert=server.ca, connect_timeout=15, application_name=f"asgard {self.source}",
            options=timeout, client_encoding="UTF8", keepalives_idle=60,
        )  # fmt: skip

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as ours."""
        import psycopg2
        from psycopg2 import errors

        try:
            yield
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.SyntaxError, errors.InsufficientPrivilege,
                errors.ReadOnlySqlTransaction, errors.InvalidSchemaName, errors.UndefinedFunction) as error:  # fmt: skip
            raise ConfigError(f"{self.source}: {self.server.host}: {_first_line(error)}") from error
        except errors.QueryCanceled as error:
            if "statement timeout" not in str(error):  # a replica that had to go on
                raise AwayError(f"{self.source}: {_first_line(error)}", source=self.source) from error
            raise StatementTimeoutError(
                f"{self.source}: a statement took longer than {self.timeout_seconds:g} s. Raise "
                "statement_timeout_seconds, or read the table in ranges (`split`)",
                source=self.source,
            ) from error
        except (psycopg2.OperationalError, psycopg2.InterfaceError, errors.SerializationFailure) as error:
            raise AwayError(
                f"{self.source}: Postgres at {self.server.host}:{self.server.port} does not answer: {_first_line(error)}",
                source=self.source,
            ) from error
        except psycopg2.Error as error:
            raise SourceError(f"{self.source}: {_first_line(error)}", source=self.source) from error

    def relation(self, table: str | None, query: str | None, schema: str | None) -> str:
        if query:
            return f"(\n{query.strip().rstrip(';')}\n) as asgard_query"
        parts = (table or "").split(".", 1)
        return ".".join(map(self.name, parts if len(parts) > 1 else [schema or "public", *parts]))

    def select(self, texts: Sequence[str], relation: str, where: str) -> str:
        condition = f" where {where}" if where else ""
        return f"copy (select {', '.join(texts)} from {relation}{condition}) to stdout (format csv)"

    def name(self, column: str) -> str:
        return '"' + column.replace('"', '""') + '"'

    def text(self, expression: str) -> str:
        return f"({expression})::text"

    def literal(self, field: Field, text: str) -> str:
        quoted = text.replace("'", "''")
        return (
            f"'{quoted}'::{field.native}"
            if "\\" not in text
            else f"E'{quoted.replace(chr(92), chr(92) * 2)}'::{field.native}"
        )

    def earlier(self, field: Field, literal: str, overlap: float) -> str:
        if field.native.startswith("timestamp"):
            return f"{literal} - interval '{overlap} seconds'"
        return f"{literal} - {int(overlap) if field.native == 'date' else overlap}"

    def ordered(self, field: Field) -> str:
        text = field.native in ("text", "character varying", "character", "bpchar", "name")
        return f'{field.column} collate "C"' if text else field.column

    def not_after_now(self, field: Field) -> str:
        timed = field.native == "date" or field.native.startswith("timestamp")
        return f"{field.column} <= now() + interval '1 day'" if timed else ""


@dataclass
class _Session(Session):
    connection: Any
    database: Postgres

    def run(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        with self.database._told(), self.connection.cursor() as cursor:
            cursor.execute(query)
            return [tuple(None if v is None else str(v) for v in row) for row in cursor.fetchall()]

    def copy(self, query: str, write: Callable[[bytes], None]) -> None:
        with self.database._told(), self.connection.cursor() as cursor:
            cursor.copy_expert(query, _Sink(write))

    def rows_guess(self, relation: str) -> int | None:
        if relation.startswith("("):
            return None
        found = self.row(
            f"select reltuples::bigint from pg_class where oid = to_regclass('{relation.replace(chr(39), chr(39) * 2)}')"
        )
        return int(found[0]) if found and found[0] and int(found[0]) >= 0 else None

    def describe(self, relation: str) -> list[Field]:
        with self.database._told(), self.connection.cursor() as cursor:
            cursor.execute(f"select * from {relation} limit 0")
            told = list(cursor.description or ())
            cursor.execute(
                "select oid, format_type(oid, null), typcategory, typtype from pg_type where oid = any(%s)",
                ([column.type_code for column in told],),
            )
            types = {oid: (name, category) for oid, name, category, _ in cursor.fetchall()}
        return [_field(column, *types[column.type_code]) for column in told]


@dataclass
class _Sink:
    """A file, as psycopg2 wants one: it hands over a row at a time."""

    write: Callable[[bytes], None]


def _field(told: Any, native: str, category: str) -> Field:
    import pyarrow as pa

    column = '"' + told.name.replace('"', '""') + '"'
    name, oid, whole = clean_name(told.name), told.type_code, f"{column}::text"
    plain = Field(name, column, native, pa.string(), column, whole)
    if oid in _PLAIN:
        return Field(name, column, native, getattr(pa, _PLAIN[oid])(), column, whole)
    if oid == _BYTEA:
        return Field(name, column, native, pa.binary(), column, whole, hexadecimal=True)
    if oid == _NUMERIC:
        kind = decimal_of(told.precision, told.scale)
        return plain if kind is None else _fitting(plain, kind, f"{column} <> 'NaN'", column)
    if oid == _DATE:
        return _fitting(plain, pa.date32(), f"{column} between date '{_FIRST}' and date '{_LAST}'", column)
    if oid in (_TIMESTAMP, _TIMESTAMPTZ):
        zone = "tz" if oid == _TIMESTAMPTZ else ""
        bounds = [
            f"timestamp{zone} '{day}{'+00' if zone else ''}'"
            for day in (f"{_FIRST} 00:00:00", f"{_LAST} 23:59:59.999999")
        ]
        value = column if zone else f"{column} at time zone 'UTC'"
        return _fitting(
            plain, pa.timestamp("us", "UTC"), f"{column} between {bounds[0]} and {bounds[1]}", value
        )
    if category == "A":  # arrays: JSON text, each element with its digits
        return Field(name, column, native, pa.string(), f"array_to_json({column})", whole)
    return plain


def _fitting(plain: Field, kind: pa.DataType, fits: str, value: str) -> Field:
    return Field(
        plain.name, plain.column, plain.native, kind,
        f"case when {fits} then {value} end", plain.whole, f"case when not ({fits}) then {plain.whole} end",
    )  # fmt: skip


def decimal_of(precision: int | None, scale: int | None) -> pa.DataType | None:
    """The type that holds every digit of a numeric(p, s); None where none does."""
    import pyarrow as pa

    if precision is None or scale is None or precision > 1000:
        return None
    if scale > 1000:  # Postgres writes a negative scale in eleven bits
        precision, scale = precision - (scale - 2048), 0
    precision = max(precision, scale, 1)
    return pa.decimal128(precision, scale) if precision <= _MOST_DIGITS else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
