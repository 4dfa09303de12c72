"""Formats that know their types: Parquet, ORC, Avro."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers import parquet_text, utf8
from asgard_assets.ingest.files.readers.records import Range, Records, gathered
from asgard_assets.ingest.files.source.formats import Parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.files.readers.records import Values

_BATCH_ROWS = 50_000
_ROWS_AT_LEAST, _ROWS_A_BYTE = 100_000, 100


def parquet(file: IO[bytes], options: Parquet, part: Range | None) -> Iterator[Records]:
    """Row groups of the file, all or those of the part. Raises ValueError where the footer promises other rows."""
    import pyarrow.parquet as pq

    # Nanoseconds, the default for Spark's old times, wrap around before 1677.
    with pq.ParquetFile(file, coerce_int96_timestamp_unit="us", page_checksum_verification=True) as source:
        groups = list(range(source.num_row_groups))
        start = 0
        if part is not None:
            groups, start = groups[part.start : part.end], part.first_row
        promised = sum(source.metadata.row_group(group).num_rows for group in groups)
        if part is None:
            promised = max(promised, source.metadata.num_rows)
        names = parquet_text.columns(source, options.binary_as_text)
        end = start
        for batch in source.iter_batches(_BATCH_ROWS, row_groups=groups):
            yield utf8.checked(batch, end, names)
            end += batch.num_rows
        if end - start != promised:
            raise ValueError(f"its footer says {promised} rows, {end - start} were read")


def orc(file: IO[bytes], part: Range | None) -> Iterator[Records]:
    """Stripes of the file. Raises ValueError where the footer promises other rows."""
    import pyarrow as pa
    import pyarrow.orc as po

    source = po.ORCFile(file)
    start = 0
    for index in range(source.nstripes):
        stripe = source.read_stripe(index)
        for batch in pa.Table.from_batches([stripe]).to_batches(_BATCH_ROWS):
            yield utf8.checked(batch, start, {})
            start += batch.num_rows
    if start != source.nrows:
        raise ValueError(f"its footer says {source.nrows} rows, {start} were read")


class _Counted:
    """A stream, and how many bytes of it were read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.bytes = stream, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.bytes += len(data)
        return data


def avro(stream: IO[bytes]) -> Iterator[Records]:
    """Records of an object container file, with any codec that it names."""
    import fastavro
    import numpy as np
    from fastavro.schema import SchemaParseException, UnknownType

    counted = _Counted(stream)
    try:
        reader = fastavro.reader(counted)  # pyright: ignore[reportArgumentType]
    except (SchemaParseException, UnknownType) as error:
        raise ValueError(f"its schema is none of Avro: {error}") from error
    types = _columns(reader.writer_schema)
    start, some = 0, list[Any]()

    def batch() -> Records:
        rows = [r if isinstance(r, dict) else {"value": r} for r in some]
        if not types:  # a union at the top has records of several kinds
            found = [(name, [_plain(value) for value in values]) for name, values in gathered(rows)]
            return Records([*found], np.arange(start, start + len(rows)))
        columns = [(n, _column([_plain(row.get(n)) for row in rows], kind)) for n, kind in types.items()]
        return Records(columns, np.arange(start, start + len(rows)))

    most = _ROWS_AT_LEAST
    for record in reader:
        some.append(record)
        if start + len(some) > most:
            # Records of no bytes: a block's count alone says how many.
            most = _ROWS_AT_LEAST + _ROWS_A_BYTE * counted.bytes
            if start + len(some) > most:
                raise ValueError(f"it says more records than its bytes can hold, {start + len(some)} so far")
        if len(some) == _BATCH_ROWS:
            yield batch()
            start, some = start + len(some), []
    yield batch()


def _columns(schema: Any) -> dict[str, pa.DataType | None]:
    """Columns of a file with their types, None where a type is left to the values; of a union at the top, none."""
    if isinstance(schema, list):
        return {}
    if isinstance(schema, dict) and "fields" in schema:
        named: dict[str, Any] = {}
        return {field["name"]: _type(field["type"], named) for field in schema["fields"]}
    return {"value": _type(schema, {})}


def _column(values: list[Any], kind: pa.DataType | None) -> Values:
    import pyarrow as pa

    if kind is not None:
        try:
            return pa.chunked_array([pa.array(values, kind)])
        except (pa.ArrowException, OverflowError):
            pass  # a value that the type does not hold: the values tell theirs
    return values


def _type(schema: Any, named: dict[str, Any]) -> pa.DataType | None:
    """The Arrow type of an Avro schema; None for unions of several types and for types within themselves."""
    import pyarrow as pa

    if isinstance(schema, list):
        some = [each for each in schema if each != "null"]
        return _type(some[0], named) if len(some) == 1 else None
    if isinstance(schema, str):
        simple = {
            "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(),
            "double": pa.float64(), "bytes": pa.binary(), "string": pa.string(),
        }  # fmt: skip
        return simple.get(schema) or named.get(schema)
    kind, logical = schema["type"], schema.get("logicalType", "")
    if logical == "decimal":
        precision, scale = schema["precision"], schema.get("scale", 0)
        return pa.decimal128(precision, scale) if precision <= 38 and scale <= precision else None
    if logical == "date":
        return pa.date32()
    if logical in ("timestamp-millis", "timestamp-micros"):
        return pa.timestamp("us", "UTC")
    if logical in ("local-timestamp-millis", "local-timestamp-micros"):
        return pa.timestamp("us")
    if logical in ("uuid", "time-millis", "time-micros") or kind == "enum":
        found: pa.DataType | None = pa.string()
    elif kind == "fixed":
        found = pa.binary()
    elif kind in ("array", "map"):
        inner = _type(schema["items" if kind == "array" else "values"], named)
        if inner is None:
            return None
        return pa.list_(inner) if kind == "array" else pa.map_(pa.string(), inner)
    elif kind in ("record", "error"):
        inside = [(field["name"], _type(field["type"], named)) for field in schema["fields"]]
        found = pa.struct(inside) if inside and all(each for _, each in inside) else None
    else:
        return _type(kind, named)
    named[schema.get("name", "")] = found
    return found


def _plain(value: Any) -> Any:
    """Avro's values as JSON has them; UUIDs become text, times of day too."""
    import datetime
    import uuid

    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (uuid.UUID, datetime.time)):
        return str(value)
    return value
