"""Where the lake's tables lie, and how they are read: Delta snapshots, Parquet addresses, SQL by DuckDB."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from asgard_assets.errors import LakeError
from asgard_assets.lake import duck
from asgard_assets.lake.duck import Reading
from asgard_assets.lake.snapshot import Snapshot, TableLog
from asgard_assets.lake.sql import identifier, quoted
from asgard_assets.lake.store import Store
from asgard_assets.roots import owned, spark_address
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

DS = "ds"


@dataclass(frozen=True)
class LakeReader(Store):
    """All tables under one root: a local folder or an S3 bucket's prefix. Reads; `Lake` also writes."""

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        settings = settings or Settings()
        if settings.home.is_dir() and Path(settings.lake_root).is_relative_to(settings.home.absolute()):
            owned(settings.home)
        return cls(settings.lake_root, settings.s3_endpoint, settings.s3_region)

    def path(self, stage: str, name: str) -> str:
        """The table's address, as delta-rs, DuckDB and Spark understand it (Spark: see `spark_path`)."""
        return f"{self.root}/{stage}/{name}"

    def duckdb_path(self, stage: str, name: str) -> str:
        """The table's address as DuckDB's Delta extension takes it: it decodes a path as if it were a URL."""
        path = self.path(stage, name)
        return path if self.remote or "%" not in path else Path(os.path.abspath(path)).as_uri()

    def delta_scan(self, stage: str, name: str, options: str = "") -> str:
        """The table in DuckDB's SQL."""
        return f"delta_scan({quoted(self.duckdb_path(stage, name))}{options and ', ' + options})"

    def _plain(self, stage: str, name: str, uri: str) -> str:
        """An address that delta-rs encoded as the engines take it."""
        plain = unquote(uri).removeprefix("file://")
        return plain if not self.remote or plain.startswith(f"{self.path(stage, name)}/") else uri

    def spark_path(self, stage: str, name: str) -> str:
        return spark_address(self.path(stage, name))

    def table(self, stage: str, name: str) -> DeltaTable | None:
        """The Delta table as it is now, or None where nothing was ever published."""
        from deltalake import DeltaTable

        path = self.path(stage, name)
        if not self.patiently(lambda: DeltaTable.is_deltatable(path, storage_options=self.storage_options)):
            return None
        return self._opened(f"{stage}/{name}")

    def _opened(self, table: str) -> DeltaTable:
        from deltalake import DeltaTable

        path = self.address(table)
        return self.patiently(lambda: DeltaTable(path, storage_options=self.storage_options))

    def at(self, stage: str, name: str, version: int) -> DeltaTable:
        """The table as it was at `version`. Raises LakeError where it no longer can be read, with the oldest that can."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        path, address = self.path(stage, name), f"{stage}/{name}"
        now = self.table(stage, name)
        newest = -1 if now is None else now.version()
        if now is not None and version == newest:
            return now  # no file of it can be gone, and none is looked for
        if not 0 <= version <= newest:
            known = f"its newest version is {newest}" if newest >= 0 else "it was never published"
            raise LakeError(f"{address} has no version {version}; {known}", table=address)
        there = {_file(info.path) for info in self._parquet(path)}

        def whole(number: int) -> DeltaTable | None:
            try:
                table = DeltaTable(path, number, storage_options=self.storage_options)
            except DeltaError:  # its part of the log is gone
                return None
            return table if {_file(uri) for uri in table.file_uris()} <= there else None

        if found := self.patiently(lambda: whole(version)):
            return found
        oldest = next(number for number in range(version + 1, newest + 1) if whole(number))
        raise LakeError(
            f"{address}: version {version} is older than the retention of the table; the oldest version that can be "
            f"read is {oldest}",
            table=address,
        )

    def version_at(self, stage: str, name: str, moment: datetime) -> int:
        """The table's version at an instant; -1 where it was not there yet. Raises LakeError beyond its retention."""
        table = self.table(stage, name)
        if table is None:
            return -1
        made = {int(entry["version"]): int(entry["timestamp"]) for entry in table.history()}
        wanted = int(moment.timestamp() * 1000)
        before = [version for version, stamp in made.items() if stamp <= wanted]
        oldest = min(made)
        if before or oldest == 0:
            return max(before, default=-1)
        begins = datetime.fromtimestamp(made[oldest] / 1000, UTC).isoformat(timespec="seconds")
        raise LakeError(
            f"{stage}/{name}: what it was at {moment.isoformat()} is no longer known; its oldest version is {oldest}, "
            f"from {begins}",
            table=f"{stage}/{name}",
        )

    def _parquet(self, path: str) -> list[Any]:
        from pyarrow import fs as pafs

        found = self.filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        return [info for info in found if info.path.endswith(".parquet")]

    def version(self, stage: str, name: str) -> int:
        """Version of the table, -1 where it does not exist."""
        table = self.table(stage, name)
        return -1 if table is None else table.version()

    def epochs(self, stage: str, name: str, days: Iterable[str]) -> dict[str, int]:
        """How often each day was published; 0 where never."""
        return self.snapshot(stage, name).published(days)

    def snapshot(self, stage: str, name: str, known: Snapshot | None = None) -> Snapshot:
        """The table as it is now, with its transaction numbers.

        Where it is still as in `known`, that is returned after one request. A table that was made anew meanwhile, with
        fewer versions, is then not noticed.
        """
        if known and known.delta and known.log.entry(known.version + 1) is None:
            return known
        table = self.table(stage, name)
        version = -1 if table is None else table.version()
        found = Snapshot(f"{stage}/{name}", version, table, TableLog(self, f"{stage}/{name}"))
        return replace(found, log=known.log) if known and known.table_id == found.table_id else found

    def files(self, stage: str, name: str, days: Iterable[str] | None = None) -> list[str]:
        """Addresses of the Parquet files that readers see now, of all days or of some."""
        table = self.table(stage, name)
        if table is None:
            return []
        predicate = None if days is None else [(DS, "in", list(days))]
        return [self._plain(stage, name, uri) for uri in table.file_uris(file_pruning_predicate=predicate)]

    def connect(
        self, memory_limit: str = "1GB", tables: Iterable[str] | None = None, as_of: datetime | None = None
    ) -> Reading:
        """A DuckDB connection that reads: published tables are views `stage.table`, all or those named.

        With `tables` ("stage/table") only their logs are read, and a LakeError names one that is not there or
        cannot be read. Without, a table that cannot be read spoils no other: only a query that touches it
        fails, and says why. It reaches the lake and nothing else. With `as_of` every table is as it was then.
        """
        return Reading(self.workbench(memory_limit, tables, as_of=as_of), (self,))

    def workbench(
        self,
        memory_limit: str = "1GB",
        tables: Iterable[str] | None = None,
        paths: Iterable[str] = (),
        temp_directory: str | None = None,
        as_of: datetime | None = None,
    ) -> duckdb.DuckDBPyConnection:
        """As `connect`, for an engine's own statements: it may also write files, below the lake and `paths`."""
        import duckdb

        connection = duck.connect(duck.reaching(self, paths), memory_limit, temp_directory=temp_directory)
        known = self.tables() if tables is None else [_address(table) for table in dict.fromkeys(tables)]
        for stage, name in known:
            connection.execute(f"create schema if not exists {identifier(stage)}")
            view = f"create view {identifier(stage)}.{identifier(name)} as"
            try:
                version = None if as_of is None else self.version_at(stage, name, as_of)
                if version == -1:
                    continue  # it was not there yet
                if version is not None:
                    self.at(stage, name, version)
                options = "" if version is None else f"version={version}"
                connection.execute(f"{view} select * from {self.delta_scan(stage, name, options)}")
            except (duckdb.Error, LakeError) as error:
                # The kernel's message goes on with a stack trace.
                reason = f"{stage}/{name} cannot be read: {str(error).splitlines()[0][:200]}"
                if tables is not None:
                    connection.close()
                    raise LakeError(reason, table=f"{stage}/{name}") from error
                # The condition stands in the rows, not in a column: a count must not get past it.
                connection.execute(
                    f"{view} select 1 as {identifier(reason)} from (values (1)) where error({quoted(reason)})::boolean"
                )
        return connection

    def tables(self, internal: bool = False) -> list[tuple[str, str]]:
        """Every published table as (stage, name); with `internal` those of the platform itself too (`_logins`)."""
        from pyarrow import fs as pafs

        selector = pafs.FileSelector(self.root, recursive=False, allow_not_found=True)
        found = []
        for stage in self.filesystem.get_file_info(selector):
            if stage.type != pafs.FileType.Directory or (stage.base_name.startswith("_") and not internal):
                continue
            for table in self.filesystem.get_file_info(pafs.FileSelector(stage.path)):
                log = self.filesystem.get_file_info(f"{table.path}/_delta_log")
                if log.type == pafs.FileType.Directory:
                    found.append((stage.base_name, table.base_name))
        return sorted(found)


def _address(table: str) -> tuple[str, str]:
    stage, slash, name = table.partition("/")
    if not (stage and slash and name):
        raise LakeError(f"{table!r} is no table; write it as stage/table, such as bronze/users", table=table)
    return stage, name


def _file(address: str) -> str:
    """The file's own name, which is like no other in its table."""
    return address.rpartition("/")[2]
