"""Formats that know their types: Parquet, ORC, Avro."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers.records import Range, Records

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 50_000


def parquet(file: IO[bytes], part: Range | None) -> Iterator[Records]:
    """Row groups of the file, all or those of the part."""
    import pyarrow.parquet as pq

    # Nanoseconds, the default for Spark's old times, wrap around before 1677.
    with pq.ParquetFile(file, coerce_int96_timestamp_unit="us", page_checksum_verification=True) as source:
        groups = list(range(source.num_row_groups))
        start = 0
        if part is not None:
            groups, start = groups[part.start : part.end], part.first_row
        for batch in source.iter_batches(_BATCH_ROWS, row_groups=groups):
            yield _typed(batch, start)
            start += batch.num_rows


def orc(file: IO[bytes], part: Range | None) -> Iterator[Records]:
    """Stripes of the file."""
    import pyarrow as pa
    import pyarrow.orc as po

    source = po.ORCFile(file)
    start = 0
    for index in range(source.nstripes):
        stripe = source.read_stripe(index)
        for batch in pa.Table.from_batches([stripe]).to_batches(_BATCH_ROWS):
            yield _typed(batch, start)
            start += batch.num_rows


def _typed(batch: pa.RecordBatch, start: int) -> Records:
    import numpy as np
    import pyarrow as pa

    columns = [
        (name, pa.chunked_array([column]))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return Records(columns, np.arange(start, start + batch.num_rows))


def avro(stream: IO[bytes]) -> Iterator[Records]:
    """Records of an object container file, with any codec that it names."""
    import fastavro
    import numpy as np
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        reader = fastavro.reader(stream)
    except (SchemaParseException, UnknownType) as error:
        raise ValueError(f"its schema is none of Avro: {error}") from error
    fields: Any = reader.writer_schema
    names = (
        [f["name"] for f in fields["fields"]]
        if isinstance(fields, dict) and "fields" in fields
        else ["value"]
    )
    start, some = 0, list[Any]()

    def batch() -> Records:
        rows = [r if isinstance(r, dict) else {"value": r} for r in some]
        columns = [(name, [_plain(row.get(name)) for row in rows]) for name in names]
        return Records(columns, np.arange(start, start + len(rows)))

    for record in reader:
        some.append(record)
        if len(some) == _BATCH_ROWS:
            yield batch()
            start, some = start + len(some), []
    yield batch()


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
