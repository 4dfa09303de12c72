"""The file formats of Airbyte's S3 destination that are landed here: JSON lines and Parquet.

    {"_airbyte_raw_id": …, "_airbyte_extracted_at": <ms>, "_airbyte_meta": {…}, "_airbyte_generation_id": n, **data}

`No flattening` puts the record under `_airbyte_data` instead. Parquet has a column for each property of the
stream's schema; objects, arrays and unions are JSON text, and a value that its column cannot hold becomes null
and is named in `_airbyte_meta.changes`.
"""

from __future__ import annotations

import gzip
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import orjson

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_A_GROUP = 10_000
_LARGEST = 2**63


@dataclass(frozen=True)
class Format:
    """What the destination's configuration says under `format`."""

    kind: Literal["jsonl", "parquet"] = "jsonl"
    flat: bool = True
    compression: str = "gzip"

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> Format:
        """Reads the S3 destination's own words. Raises ValueError, naming what is not landed here."""
        given = configuration.get("format") or {}
        kind = str(given.get("format_type", "JSONL")).lower()
        if kind == "parquet":
            return cls("parquet", True, str(given.get("compression_codec", "UNCOMPRESSED")).lower())
        if kind != "jsonl":
            raise ValueError(
                f"format_type {given['format_type']} is not landed here; choose JSONL or Parquet"
            )
        packed = str((given.get("compression") or {}).get("compression_type", "GZIP")).lower()
        flat = str(given.get("flattening", "No flattening")).lower().startswith("root")
        return cls("jsonl", flat, "gzip" if packed == "gzip" else "none")

    @property
    def extension(self) -> str:
        if self.kind == "parquet":
            return ".parquet"
        return ".jsonl.gz" if self.compression == "gzip" else ".jsonl"

    def part(self, path: Path, sync_id: int, generation: int, json_schema: Mapping[str, Any]) -> Part:
        """Open a file for records of one stream."""
        if self.kind == "parquet":
            return ParquetPart(path, sync_id, generation, json_schema, self.compression)
        return JsonPart(path, sync_id, generation, self.flat, self.compression == "gzip")


class Part(ABC):
    """One file being written: `add` records, `close`, and perhaps `cut` it to its first records."""

    def __init__(self, path: Path, sync_id: int, generation: int) -> None:
        self.path, self.records, self.bytes = path, 0, 0
        self._sync_id, self._generation = sync_id, generation

    def add(self, data: Mapping[str, Any], emitted_at: float) -> None:
        self.bytes += self._write(data, int(emitted_at))
        self.records += 1

    def close(self) -> None:
        """After this the records are on disk."""
        self._finish()
        with open(self.path, "rb") as written:
            os.fsync(written.fileno())

    def cut(self, records: int) -> None:
        """Keep the first `records` of a closed file."""
        if records < self.records:
            whole = self.path.with_name(f"{self.path.name}.whole")
            os.replace(self.path, whole)
            self._copy(whole, records)
            self.records = records
            whole.unlink()

    @abstractmethod
    def _write(self, data: Mapping[str, Any], emitted_at: int) -> int: ...

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _copy(self, whole: Path, records: int) -> None: ...


class JsonPart(Part):
    """JSON lines, flattened at the root or with the record under `_airbyte_data`."""

    def __init__(self, path: Path, sync_id: int, generation: int, flat: bool, packed: bool) -> None:
        super().__init__(path, sync_id, generation)
        self._flat, self._packed = flat, packed
        self._file = self._create()

    def _write(self, data: Mapping[str, Any], emitted_at: int) -> int:
        row = {
            "_airbyte_raw_id": str(uuid.uuid4()),
            "_airbyte_extracted_at": emitted_at,
            "_airbyte_meta": {"sync_id": self._sync_id, "changes": []},
            "_airbyte_generation_id": self._generation,
        }
        content = dict(data) if self._flat else {"_airbyte_data": data}
        self._file.write(orjson.dumps({**row, **content}) + b"\n")
        return len(orjson.dumps(data))

    def _finish(self) -> None:
        self._file.close()

    def _copy(self, whole: Path, records: int) -> None:
        with self._reader(whole) as lines, self._create() as file:
            file.writelines(islice(lines, records))

    def _create(self) -> BinaryIO:
        if not self._packed:
            return self.path.open("wb")
        # mtime=0: the same rows give the same bytes. Level 6 is twice as fast as Python's default of 9.
        return cast(BinaryIO, gzip.GzipFile(self.path, "wb", compresslevel=6, mtime=0))

    def _reader(self, whole: Path) -> Any:
        return gzip.open(whole, "rb") if self._packed else whole.open("rb")


class ParquetPart(Part):
    """Parquet with typed columns, written in row groups, so that memory stays small."""

    def __init__(
        self, path: Path, sync_id: int, generation: int, json_schema: Mapping[str, Any], codec: str
    ) -> None:
        import pyarrow.parquet as pq

        super().__init__(path, sync_id, generation)
        self._codec = "none" if codec == "uncompressed" else codec
        self._columns = {n: _column(p) for n, p in (json_schema.get("properties") or {}).items()}
        self._schema = _parquet_schema({name: kind for name, (kind, _) in self._columns.items()})
        self._rows: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(path, self._schema, compression=self._codec)

    def _write(self, data: Mapping[str, Any], emitted_at: int) -> int:
        changes, row = [], {}
        for name, (_, convert) in self._columns.items():
            try:
                row[name] = None if data.get(name) is None else convert(data[name])
            except (ValueError, TypeError):
                row[name] = None
                changes.append(
                    {"field": name, "change": "NULLED", "reason": "DESTINATION_SERIALIZATION_ERROR"}
                )
        row["_airbyte_raw_id"] = str(uuid.uuid4())
        row["_airbyte_extracted_at"] = emitted_at
        row["_airbyte_meta"] = {"sync_id": self._sync_id, "changes": changes}
        row["_airbyte_generation_id"] = self._generation
        self._rows.append(row)
        if len(self._rows) >= _ROWS_A_GROUP:
            self._flush()
        return len(orjson.dumps(data))

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def _finish(self) -> None:
        self._flush()
        self._writer.close()

    def _copy(self, whole: Path, records: int) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetWriter(self.path, self._schema, compression=self._codec) as writer:
            for batch in _first(pq.ParquetFile(whole).iter_batches(_ROWS_A_GROUP), records):
                writer.write_batch(batch)


def _first(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def _parquet_schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    import pyarrow as pa

    change = pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])
    return pa.schema(
        [
            ("_airbyte_raw_id", pa.string()),
            ("_airbyte_extracted_at", pa.timestamp("ms", "UTC")),
            ("_airbyte_meta", pa.struct([("sync_id", pa.int64()), ("changes", pa.list_(change))])),
            ("_airbyte_generation_id", pa.int64()),
            *columns.items(),
        ]
    )


def _column(described: Mapping[str, Any]) -> tuple[pa.DataType, Callable[[Any], Any]]:
    """The Parquet type of a property, and what turns a JSON value into it."""
    import pyarrow as pa

    kinds = described.get("type")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or [])
    kinds = [kind for kind in kinds if kind != "null"]
    if kinds == ["string"]:
        if described.get("format") == "date-time":
            if described.get("airbyte_type") == "timestamp_without_timezone":
                return pa.timestamp("us"), _local_time
            return pa.timestamp("us", "UTC"), _instant
        if described.get("format") == "date":
            return pa.date32(), date.fromisoformat
        return pa.string(), _string
    plain: dict[str, tuple[pa.DataType, Callable[[Any], Any]]] = {
        "integer": (pa.int64(), _integer),
        "number": (pa.float64(), _number),
        "boolean": (pa.bool_(), _boolean),
    }
    found = plain.get(kinds[0]) if len(kinds) == 1 else None
    return found or (pa.string(), lambda value: orjson.dumps(value).decode())


def _string(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _integer(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value) or not -_LARGEST <= int(value) < _LARGEST:
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _instant(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _local_time(value: Any) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=None)
