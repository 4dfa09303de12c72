"""MySQL and MariaDB: rows as lines of CSV that the server writes, types without loss, one state for all sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.files.source.types import clean_name
from asgard_assets.ingest.sql.errors import AwayError, StatementTimeoutError
from asgard_assets.ingest.sql.fields import Field, Session
from asgard_assets.ingest.sql.source import MySqlServer

if TYPE_CHECKING:
    import pyarrow as pa

_NO_SUCH = (1044, 1046, 1049, 1051, 1054, 1064, 1142, 1143, 1146, 1305, 1792)
_DENIED = 1045
_TIMEOUTS = (1969, 3024)
_LOCK_SECONDS = 5
_UNSIGNED, _BINARY, _ENUM, _SET = 32, 128, 256, 2048
_MOST_DIGITS = 38
_BINARY_CHARSET = 63
_LINES = 500


@dataclass
class MySql:
    """A MySQL or MariaDB database as a source. `timeout_seconds`: of a statement; 0: none."""

    server: MySqlServer
    password: str | None
    source: str
    timeout_seconds: float = 3600
    notes: list[str] = field(default_factory=list[str])

    @contextmanager
    def sessions(self, count: int, relation: str) -> Iterator[Sequence[Session]]:
        """Sessions that see one state: a short read lock on the table holds writers off while they begin.

        One session where the lock is not to be had: a query of one's own, no right to lock, a writer that does not end.
        """
        with ExitStack() as stack:
            held = self._locked(stack, relation) if count > 1 else None
            if count > 1 and held is None:
                self.notes.append(
                    "one connection read all ranges: the table could not be locked for a moment"
                )
                count = 1
            found = [stack.enter_context(self._session()) for _ in range(count)]
            if held is not None:
                held.run("unlock tables")
            yield found

    def _locked(self, stack: ExitStack, relation: str) -> _Session | None:
        """A session that holds a read lock on the table; None where there is none to be had."""
        import pymysql

        if relation.startswith("("):
            return None
        session = _Session(stack.enter_context(closing(self._connect())), self)
        try:
            session.run(f"set session lock_wait_timeout = {_LOCK_SECONDS}")
            session.run(f"lock tables {relation} read")
        except pymysql.err.MySQLError:
            return None
        return session

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        with self._told(), closing(self._connect()) as connection:
            session = _Session(connection, self)
            session.run("set session transaction isolation level repeatable read")
            session.run("start transaction with consistent snapshot, read only")
            yield session

    def _connect(self) -> Any:
        import pymysql

        server = self.server
        tls: Any = None
        if server.tls != "disable":
            tls = {"ca": server.ca, "check_hostname": server.tls == "verify-full"}
        with self._told():
            connection = pymysql.connect(
                host=server.host, port=server.port, database=server.database, user=server.user,
                password=self.password or "", charset="utf8mb4", use_unicode=True, autocommit=True, connect_timeout=15,
                ssl=tls, ssl_verify_cert=server.tls == "verify-full" or None, read_timeout=self.timeout_seconds + 60 or None,
                program_name="asgard",
            )  # fmt: skip
            maria = "mariadb" in connection.get_server_info().lower()
            timeout = "max_statement_time" if maria else "max_execution_time"
            limit = self.timeout_seconds if maria else int(self.timeout_seconds * 1000)
            with connection.cursor() as cursor:
                cursor.execute(
                    f"set session time_zone = '+00:00', sql_mode = '', {timeout} = {limit}, net_write_timeout = 600"
                )
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as ours."""
        import pymysql

        try:
            yield
        except pymysql.err.MySQLError as error:
            code = error.args[0] if error.args else 0
            told = f"{self.source}: {self.server.host}: {error.args[-1] if error.args else error}"
            if code in _NO_SUCH:
                raise ConfigError(told) from error
            if code in _TIMEOUTS:
                raise StatementTimeoutError(
                    f"{self.source}: a statement took longer than {self.timeout_seconds:g} s. Raise "
                    "statement_timeout_seconds, or read the table in ranges (`split`)",
                    source=self.source,
                ) from error
            if (
                isinstance(error, pymysql.err.OperationalError | pymysql.err.InterfaceError)
                and code != _DENIED
            ):
                raise AwayError(told, source=self.source) from error
            raise SourceError(told, source=self.source) from error

    def relation(self, table: str | None, query: str | None, schema: str | None) -> str:
        if query:
            return f"(\n{query.strip().rstrip(';')}\n) as asgard_query"
        parts = (table or "").split(".", 1)
        return ".".join(map(self.name, [schema, *parts] if schema and len(parts) == 1 else parts))

    def select(self, texts: Sequence[str], relation: str, where: str) -> str:
        condition = f" where {where}" if where else ""
        line = ", ',', ".join(
            f"ifnull({text}, '')" if not text.startswith("case") else text for text in texts
        )
        return f"select cast(concat({line}, '\\n') as binary) from {relation}{condition}"

    def name(self, column: str) -> str:
        return "`" + column.replace("`", "``") + "`"

    def text(self, expression: str) -> str:
        return f"cast({expression} as char)"

    def literal(self, field: Field, text: str) -> str:
        quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
        kinds = {
            "date": "date",
            "datetime": "datetime(6)",
            "timestamp": "datetime(6)",
            "decimal": "decimal(65,30)",
        }
        if field.native in kinds:
            return f"cast({quoted} as {kinds[field.native]})"
        return text if field.native.endswith("int") and text.lstrip("-").isdigit() else f"binary {quoted}"

    def earlier(self, field: Field, literal: str, overlap: float) -> str:
        if field.native in ("datetime", "timestamp"):
            return f"{literal} - interval {overlap} second"
        return (
            f"{literal} - interval {int(overlap)} day" if field.native == "date" else f"{literal} - {overlap}"
        )

    def ordered(self, field: Field) -> str:
        return f"binary {field.column}" if str(field.type) == "string" else field.column

    def not_after_now(self, field: Field) -> str:
        return (
            f"{field.column} <= now() + interval 1 day"
            if field.native in ("date", "datetime", "timestamp")
            else ""
        )


@dataclass
class _Session(Session):
    connection: Any
    database: MySql

    def run(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[str | None, ...]]:
        with self.database._told(), self.connection.cursor() as cursor:
            cursor.execute(query)
            return [tuple(None if v is None else _text(v) for v in row) for row in cursor.fetchall()]

    def copy(self, query: str, write: Callable[[bytes], None]) -> None:
        from pymysql.cursors import SSCursor

        with self.database._told():
            cursor = self.connection.cursor(SSCursor)
            cursor.execute(query)
            while rows := cursor.fetchmany(_LINES):
                try:
                    write(b"".join([line for (line,) in rows]))
                except TypeError as error:
                    raise SourceError(
                        f"{self.database.source}: a row is longer than the server's max_allowed_packet. Raise that, or "
                        "leave the column out (`exclude`)",
                        source=self.database.source,
                    ) from error
            cursor.close()

    def rows_guess(self, relation: str) -> int | None:
        return None

    def describe(self, relation: str) -> list[Field]:
        with self.database._told(), self.connection.cursor() as cursor:
            cursor.execute(f"select * from {relation} limit 0")
            return [_field(told) for told in cursor._result.fields]  # its description lacks the flags


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _field(told: Any) -> Field:
    """The field of a column, by its type on the wire."""
    import pyarrow as pa
    from pymysql.constants import FIELD_TYPE as T

    column, name = "`" + told.name.replace("`", "``") + "`", clean_name(told.name)
    unsigned, code = bool(told.flags & _UNSIGNED), told.type_code
    shown = f"cast({column} as char)"

    def of(native: str, kind: pa.DataType, value: str = shown) -> Field:
        return Field(name, column, native, kind, value, value)

    integers = {
        T.TINY: ("tinyint", pa.int8(), pa.int16()), T.SHORT: ("smallint", pa.int16(), pa.int32()),
        T.INT24: ("mediumint", pa.int32(), pa.int32()), T.LONG: ("int", pa.int32(), pa.int64()),
        T.LONGLONG: ("bigint", pa.int64(), pa.decimal128(20, 0)), T.YEAR: ("yearint", pa.int16(), pa.int16()),
    }  # fmt: skip
    if code in integers:
        native, signed, wide = integers[code]
        # As a number: a column with zerofill is shown with zeros in front.
        return of(
            native, wide if unsigned else signed, f"cast({column} + 0 as char)" if code != T.YEAR else shown
        )
    if code in (T.DECIMAL, T.NEWDECIMAL):
        precision = told.length - (1 if told.scale else 0) - (0 if unsigned else 1)
        kind = pa.decimal128(precision, told.scale) if precision <= _MOST_DIGITS else pa.string()
        return of("decimal", kind, f"cast({column} + 0 as char)" if unsigned else shown)
    if code in (T.FLOAT, T.DOUBLE):  # a float shows six digits; as a double it shows all
        kind = pa.float32() if code == T.FLOAT else pa.float64()
        return of("double", kind, f"cast(cast({column} as double) as char)")
    if code in (T.DATE, T.NEWDATE, T.DATETIME, T.TIMESTAMP):
        return _moment(
            name,
            column,
            shown,
            code in (T.DATE, T.NEWDATE),
            "timestamp" if code == T.TIMESTAMP else "datetime",
        )
    if code == T.BIT:
        bits = f"lpad(bin({column} + 0), {told.length}, '0')"
        return of("bit", pa.string(), f"convert({bits} using utf8mb4)")
    if code == T.TIME:
        return of("time", pa.string())
    if told.charsetnr == _BINARY_CHARSET and not told.flags & (_ENUM | _SET) and code != T.JSON:
        hexed = _quoted(f"hex({column})", column)  # in quotes, for empty bytes are not null
        return Field(name, column, "binary", pa.binary(), hexed, hexed, hexadecimal=True)
    text = _quoted(f"convert({column} using utf8mb4)", column)
    return Field(name, column, "text", pa.string(), text, text)


def _moment(name: str, column: str, shown: str, is_date: bool, native: str) -> Field:
    """A day or a time; zero dates and days that no calendar has are kept as text in _rescued_data."""
    import pyarrow as pa

    fits = f"(last_day({column}) is not null and year({column}) > 0 and dayofmonth({column}) > 0)"
    value = shown if is_date else f"concat({shown}, 'Z')"
    return Field(
        name, column, "date" if is_date else native, pa.date32() if is_date else pa.timestamp("us", "UTC"),
        f"case when {column} is not null and {fits} then {value} else '' end", shown,
        f"case when {column} is not null and not {fits} then {shown} else '' end",
    )  # fmt: skip


def _quoted(text: str, column: str) -> str:
    """Text in quotes, where it is not null. Null where it is longer than a packet, so that the whole line is null."""
    return f"case when {column} is null then '' else concat('\"', replace({text}, '\"', '\"\"'), '\"') end"
