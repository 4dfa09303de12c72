"""Where new rows wait before anybody sees them: a folder inside the table that no Delta reader looks at."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.lake.reader import DS, LakeReader
from asgard_assets.lake.sql import identifier, quoted
from asgard_assets.lake.statistics import without_floats
from asgard_assets.windows import checked_key, checked_value, key_in, value_of, window_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Staging:
    """Files on their way into one table. Write Parquet under `path`, in folders `ds=<day>` if partitioned.

    `schema` is the table's full schema, `ds` included; `seen` is each day's transaction number when staging
    began (0: never published).
    """

    table: str
    stage: str
    name: str
    path: str
    schema: pa.Schema
    days: tuple[str, ...]
    seen: Mapping[str, int]
    properties: Mapping[str, str] = field(default_factory=dict)
    dimension: str = ""
    """The second column that the table is cut by: then `days` are slices."""

    @property
    def partitioned(self) -> bool:
        return bool(self.days)

    @property
    def partition_by(self) -> list[str]:
        return [DS, self.dimension] if self.dimension else [DS] if self.partitioned else []

    def values(self, key: str) -> dict[str, str]:
        """The partition columns of a key."""
        known = {DS: window_of(key)} if key else {}
        return known | ({self.dimension: value_of(key)} if self.dimension else {})

    def folder(self, key: str) -> str:
        """Where the files of a key lie."""
        return f"{self.path}/{partition_folder(key, self.dimension)}" if self.partitioned else self.path


def partition_folder(key: str, dimension: str = "") -> str:
    """The folder of a key inside a table: `ds=2026-10-05`, of a slice `ds=2026-10-05/region=eu`."""
    return f"{DS}={window_of(key)}" + (f"/{dimension}={value_of(key)}" if dimension else "")


def of_key(key: str, dimension: str = "", table: str = "") -> str:
    """SQL that is true of the rows of a key. `table`: of which, such as `published.`"""
    told = f"{table}{DS} = {quoted(window_of(key))}"
    return told + (f" and {table}{identifier(dimension)} = {quoted(value_of(key))}" if dimension else "")


def key_column(dimension: str = "") -> str:
    """SQL of the key that a row is of."""
    return f"{DS} || '|' || {identifier(dimension)}" if dimension else DS


@dataclass(frozen=True)
class LakeStaging(LakeReader):
    """The lake's tables with room beside them for files on their way in. `Lake` also makes them visible."""

    def stage(
        self,
        stage: str,
        name: str,
        schema: pa.Schema,
        days: Sequence[str] = (),
        seen: Mapping[str, int] | None = None,
        properties: Mapping[str, str] | None = None,
        whole: bool = False,
        dimension: str = "",
    ) -> Staging:
        """Open a staging folder for `days` (none: the whole, unpartitioned table is replaced).

        A writer that reads its inputs before it can stage takes `epochs` first and hands them in as `seen`:
        else one that read later, yet published earlier, would be overwritten with what is older. `whole`: the
        table is no partitioned one although it has a column `ds`. `dimension`: `days` are slices, by that column.
        """
        days = tuple(dict.fromkeys(days))
        _refuse_no_days(f"{stage}/{name}", days)
        if not whole and (DS in schema.names) != bool(days):
            raise LakeError(
                f"{stage}/{name}: a table with a `{DS}` column is written by days, one without it as a whole",
                table=f"{stage}/{name}",
            )
        if {bool(value_of(day)) for day in days} - {bool(dimension)}:
            raise LakeError(
                f"{stage}/{name}: slices such as 2026-10-05|eu need their column", table=f"{stage}/{name}"
            )
        token = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        path = f"{self.path(stage, name)}/{token}"
        self.filesystem.create_dir(path, recursive=True)
        known = self.epochs(stage, name, days or ("",)) if seen is None else dict(seen)
        return Staging(
            f"{stage}/{name}", stage, name, path, schema, days, known, dict(properties or {}), dimension
        )

    def write(self, staging: Staging, rows: pa.Table, rows_per_file: int = 1_000_000) -> None:
        """Write an Arrow table into the staging folder, for engines that have no Parquet writer of their own.

        Raises LakeError where a row belongs to none of the staged days: it would be lost.
        """
        import pyarrow.parquet as pq

        rows = rows.select(staging.schema.names).cast(staging.schema)
        if staging.partitioned:
            _refuse_strays(staging, rows)
        for day in staging.days or ("",):
            part, folder = rows, staging.folder(day)
            for name, value in staging.values(day).items():
                import pyarrow.compute as pc

                part = part.filter(pc.field(name) == value).drop_columns([name])
            if not part.num_rows:
                continue
            statistics: Any = without_floats(part.schema)
            for start in range(0, part.num_rows, rows_per_file):
                with self.whole(f"{folder}/part-{uuid.uuid4().hex}.parquet") as file:
                    some = part.slice(start, rows_per_file)
                    pq.write_table(some, file, compression="zstd", write_statistics=statistics)

    def staged_files(self, staging: Staging) -> dict[str, list[str]]:
        """Staged Parquet files by day, as addresses; files still being written by Spark are left out."""
        from pyarrow import fs as pafs

        found: dict[str, list[str]] = {day: [] for day in staging.days or ("",)}
        base = staging.path
        for info in self.filesystem.get_file_info(pafs.FileSelector(base, recursive=True)):
            inside = info.path[len(base) + 1 :]
            parts = inside.split("/")
            if not inside.endswith(".parquet") or any(part.startswith(("_", ".")) for part in parts):
                continue
            folders = dict(part.partition("=")[::2] for part in parts[: len(staging.partition_by)])
            day = (
                key_in({name: unquote(value) for name, value in folders.items()})
                if staging.partitioned
                else ""
            )
            if day not in found:
                raise LakeError(
                    f"{staging.table}: a staged file belongs to {day!r}, which was not asked for "
                    f"({', '.join(staging.days) or 'the whole table'})",
                    table=staging.table,
                )
            found[day].append(f"{staging.path}/{inside}")
        return found

    def discard(self, staging: Staging, days: Sequence[str] | None = None) -> None:
        """Remove staged files, of all days or of some. Never of days that `publish` was called for."""
        if days is None:
            self.filesystem.delete_dir(staging.path)
            return
        staged = self.staged_files(staging)
        for uri in (uri for day in days for uri in staged[day]):
            self.filesystem.delete_file(uri)


def _refuse_no_days(table: str, days: Sequence[str]) -> None:
    for day in days:
        try:
            checked_key(window_of(day))
            if value := value_of(day):
                checked_value(value)
        except ConfigError as error:
            raise LakeError(f"{table}: {error}", table=table) from error


def _refuse_strays(staging: Staging, rows: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pc.call_function("binary_join_element_wise", [*(rows[name] for name in staging.partition_by), "|"])
    outside = pc.call_function(
        "invert", [pc.call_function("is_in", [keys], pc.SetLookupOptions(pa.array(staging.days)))]
    )
    if strays := rows.append_column("_key", keys).filter(outside):
        named = sorted({str(day) for day in strays["_key"].to_pylist()})
        raise LakeError(
            f"{staging.table}: {strays.num_rows} rows belong to {', '.join(named[:5])}, which was not asked for "
            f"({', '.join(staging.days[:5])}{' …' if len(staging.days) > 5 else ''})",
            table=staging.table,
        )
