"""A record of Kafka becomes a row of the table, or a row of the quarantine that says why not. Nothing else happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from asgard_assets.ingest.stream.changes import NoChangeError, change, row_key
from asgard_assets.ingest.stream.schemas import Decoder, MisfitError, json_misfit, plain
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import BAD_COLUMNS, columns_of, schema_of
from asgard_assets.windows import Calendar

if TYPE_CHECKING:
    import pyarrow as pa

SOURCE, PULLED_AT, IDEMPOTENCY_KEY, REPLAYED = "source", "pulled_at", "idempotency_key", "replayed"
"""Headers of a record."""
_RAW_BYTES = 64 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = 10_000_000_000  # a greater number of seconds would lie behind the year 2286


class Record(NamedTuple):
    """What a reader gets of Kafka. `timestamp` in milliseconds, -1 where there is none."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Bad(Exception):
    """A record that is no row. The message is the reason."""


@dataclass
class Rows:
    """Rows and bad rows of one batch, as tuples in the order of their columns."""

    good: list[tuple[Any, ...]] = field(default_factory=list)
    bad: list[tuple[Any, ...]] = field(default_factory=list)
    dead: list[tuple[Record, str]] = field(default_factory=list)
    """The records of the bad rows, as they were sent, with their reasons."""
    second: str = ""

    def tables(self) -> tuple[pa.Table, pa.Table]:
        return _table(self.good, columns_of(self.second)), _table(self.bad, BAD_COLUMNS)


class Reader:
    """Makes rows of records. `now` is the time of the batch; the calendar says which windows there are."""

    def __init__(
        self,
        source: StreamSource,
        topic_id: str,
        calendar: Calendar,
        now: datetime,
        decoder: Decoder | None = None,
    ):
        self._decoder = decoder
        self._source, self._topic_id, self._calendar, self._now = source, topic_id, calendar, now
        self._today = calendar.key_at(now)
        self._latest = now + timedelta(hours=source.window.future_hours)
        self._fits = _validator(source.json_schema)
        self._windows = dict[int, str | None]()  # by quarter of an hour since 1970, in which no window ends

    def rows(self, records: Iterable[Record]) -> Rows:
        found = Rows(second=self._source.second)
        for record in records:
            try:
                found.good.append(self._row(record))
            except Bad as bad:
                found.bad.append(self._set_aside(record, str(bad)))
                found.dead.append((record, str(bad)))
        return found

    def _row(self, record: Record) -> tuple[Any, ...]:
        value, headers = record.value, dict(record.headers or ())
        payload = document = None
        if value is not None:
            if len(value) > self._source.max_record_bytes:
                raise Bad(f"longer than max_record_bytes: {len(value):,} bytes")
            document, payload = self._read(value)
            if self._fits and (misfit := self._fits(document)):
                raise Bad(misfit)
        key, deleted = _text(record.key), value is None
        if self._source.changes == "debezium":
            key, payload, deleted = _changed(key, document, payload)
        if not key:
            if value is None:
                raise Bad("neither key nor value")
            key = external_id(document, value)
        source = _text(headers.get(SOURCE)) or self._source.name
        sent = _moment(record.timestamp / 1000) if record.timestamp >= 0 else None
        return (
            source, key, payload, deleted,
            _time(_text(headers.get(PULLED_AT))) or sent, self._now,
            _text(headers.get(IDEMPOTENCY_KEY)) or idempotency_key(source, key, value),
            REPLAYED in headers,
            self._source.topic, self._topic_id, record.partition, record.offset, sent, self._window(document, sent),
            *self._value(document),
        )  # fmt: skip

    def _read(self, value: bytes) -> tuple[Any, str]:
        """The value as JSON, and its text."""
        import orjson

        if self._decoder is not None:
            try:
                document = self._decoder.document(value)
            except MisfitError as error:
                raise Bad(str(error)) from error
            try:
                text = plain(document)
                return json.loads(text), text
            except (ValueError, TypeError, RecursionError) as error:
                raise Bad(f"cannot be written as JSON: {error}") from error
        try:
            return orjson.loads(value), value.decode()
        except ValueError:
            return _parsed(value)

    def _value(self, document: Any) -> tuple[str, ...]:
        """The value of the second column, where there is one."""
        if not self._source.second:
            return ()
        path = self._source.partition_field or self._source.second
        found = at(document, path)
        known = self._source.partitions[self._source.second]
        if isinstance(found, bool) or not isinstance(found, str | int) or str(found) not in known:
            raise Bad(f"no partition for {path}: {str(found)[:50]!r}; there are {', '.join(known)}")
        return (str(found),)

    def _window(self, document: Any, sent: datetime | None) -> str:
        if self._source.window.type == "arrival" or document is None:
            found = self._key(sent) if sent and sent <= self._latest else None
            return found or self._today
        document = at(document, self._source.window.field)
        moment = _time(document)
        if moment is None:
            raise Bad(f"no time at {self._source.window.field}: {str(document)[:50]!r}")
        if moment > self._latest:
            raise Bad(f"from the future: {moment:%Y-%m-%dT%H:%M:%SZ}")
        found = self._key(moment)
        if found is None:
            raise Bad(f"outside the calendar: {moment:%Y-%m-%dT%H:%M:%SZ}")
        return found

    def _key(self, moment: datetime) -> str | None:
        quarter = int((moment - _EPOCH).total_seconds() // 900)
        if quarter not in self._windows:
            try:
                window = self._calendar.window_at(moment)
                self._windows[quarter] = window.key if self._calendar.has(window) else None
            except (OverflowError, ValueError):
                self._windows[quarter] = None
        return self._windows[quarter]

    def _set_aside(self, record: Record, reason: str) -> tuple[Any, ...]:
        value = record.value or b""
        sent = _moment(record.timestamp / 1000) if record.timestamp >= 0 else None
        return (
            self._source.topic, self._topic_id, record.partition, record.offset, sent, _text(record.key), reason,
            value[:_RAW_BYTES].decode("utf-8", "backslashreplace"), len(value), self._now, self._today,
        )  # fmt: skip


def _changed(key: str | None, document: Any, payload: str | None) -> tuple[str, str | None, bool]:
    """The key of the row that a record changes, the change, and whether the row is gone. A tombstone has no change."""
    if document is None:
        return row_key(key, None), None, True
    try:
        found, gone = change(document)
    except NoChangeError as error:
        raise Bad(str(error)) from error
    text = payload if found == document else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return row_key(key, found), text, gone


def at(document: Any, path: str) -> Any:
    """What a record has at a path of names with dots; None where it has nothing there."""
    for name in path.split(".") if path else ():
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def external_id(document: Any, value: bytes) -> str:
    """The id of a record without a key: its field `id`, else its SHA-256, whatever the order of its fields."""
    import orjson

    if isinstance(document, dict) and isinstance(document.get("id"), str | int) and document["id"] != "":
        return str(document["id"])
    try:
        canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # deeper, or longer numbers, than it writes
        canonical = value
    return hashlib.sha256(canonical).hexdigest()


def idempotency_key(source: str, key: str, value: bytes | None) -> str:
    """Equal where the source, the key and the content are."""
    told = b"\0".join((source.encode(), key.encode("utf-8", "surrogatepass"), value or b""))
    return hashlib.sha256(told).hexdigest()


def _parsed(value: bytes) -> tuple[Any, str]:
    """JSON that orjson refuses although it is some: longer numbers, half of a surrogate pair. Numbers stay text."""
    try:
        payload = value.decode()
        return json.loads(payload, parse_int=str, parse_float=str, parse_constant=_refuse), payload
    except (ValueError, RecursionError) as error:
        raise Bad(f"not JSON: {error}") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _time(value: Any) -> datetime | None:
    """A time as people send it: ISO 8601 (without a zone: UTC), or seconds or milliseconds since 1970."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _moment(value / 1000 if abs(value) >= _MILLISECONDS else value)
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _validator(schema: Any) -> Callable[[Any], str | None] | None:
    """Says what breaks the schema first; None where there is no schema."""
    if schema is None:
        return None
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    from asgard_assets.errors import ConfigError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"json_schema is no JSON Schema: {error.message}", field="json_schema") from error
    found = json_misfit(Draft202012Validator, schema)

    def misfit(document: Any) -> str | None:
        reason = found(document)
        return (
            None
            if reason is None
            else reason[2:]
            if reason.startswith(": ")
            else f"breaks its schema{reason}"
        )

    return misfit


def _table(rows: list[tuple[Any, ...]], columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    schema = schema_of(columns)
    values = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    arrays = [pa.array(list(column), kind.type) for column, kind in zip(values, schema, strict=True)]
    return pa.table(arrays, schema=schema)
