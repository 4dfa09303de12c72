"""Where the lake's tables lie, and how they are read: Delta snapshots, Parquet addresses, SQL by DuckDB."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlparse

from asgard_assets.errors import LakeError
from asgard_assets.lake.numbers import publish_id
from asgard_assets.roots import checked_root
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable
    from pyarrow import fs as pafs

DS = "ds"
# Until the extensions are loaded. To prove the signature of Delta's takes DuckDB 0.36 CPU s; the lock file has proven its wheel.
UNSIGNED = {"allow_unsigned_extensions": True}


@dataclass(frozen=True)
class LakeReader:
    """All tables under one root: a local folder or `s3://bucket/prefix`. Reads; `Lake` also writes."""

    root: str
    endpoint: str | None = None
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        checked_root(self.root, "ASGARD_LAKE")

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        settings = settings or Settings()
        return cls(settings.lake_root, settings.s3_endpoint, settings.s3_region)

    @property
    def remote(self) -> bool:
        return self.root.startswith("s3://")

    @property
    def storage_options(self) -> dict[str, str] | None:
        """delta-rs options; keys come from the environment, never from here."""
        if not self.remote:
            return None
        options = {"aws_region": self.region, "conditional_put": "etag"}
        if self.endpoint:
            options |= {"aws_endpoint": self.endpoint, "aws_allow_http": "true"}
        return options

    @property
    def filesystem(self) -> pafs.FileSystem:
        from pyarrow import fs as pafs

        if not self.remote:
            return pafs.LocalFileSystem()
        if not self.endpoint:
            return pafs.S3FileSystem(region=self.region)
        url = urlparse(self.endpoint)
        return pafs.S3FileSystem(region=self.region, endpoint_override=url.netloc, scheme=url.scheme)

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
        return self.path(stage, name).replace("s3://", "s3a://", 1)

    def table(self, stage: str, name: str) -> DeltaTable | None:
        """The Delta table as it is now, or None where nothing was ever published."""
        from deltalake import DeltaTable

        path = self.path(stage, name)
        if not DeltaTable.is_deltatable(path, storage_options=self.storage_options):
            return None
        return DeltaTable(path, storage_options=self.storage_options)

    def version(self, stage: str, name: str) -> int:
        """Version of the table, -1 where it does not exist."""
        table = self.table(stage, name)
        return -1 if table is None else table.version()

    def epochs(self, stage: str, name: str, days: Iterable[str]) -> dict[str, int]:
        """How often each day was published; 0 where never."""
        table = self.table(stage, name)
        return {day: (table.transaction_version(publish_id(day)) or 0) if table else 0 for day in days}

    def files(self, stage: str, name: str, days: Iterable[str] | None = None) -> list[str]:
        """Addresses of the Parquet files that readers see now, of all days or of some."""
        table = self.table(stage, name)
        if table is None:
            return []
        predicate = None if days is None else [(DS, "in", list(days))]
        return [self._plain(stage, name, uri) for uri in table.file_uris(file_pruning_predicate=predicate)]

    def connect(
        self, memory_limit: str = "1GB", tables: Iterable[str] | None = None
    ) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection in which published tables are views `stage.table`: all, or those named.

        With `tables` ("stage/table") only their logs are read, and a LakeError names one that is not there or
        cannot be read. Without, a table that cannot be read spoils no other: only a query that touches it
        fails, and says why. DuckDB's Delta extension is loaded from its wheel: nothing is downloaded.
        """
        import duckdb

        connection = duckdb.connect(config={"memory_limit": memory_limit, "threads": 2, **UNSIGNED})
        load_duckdb_extensions(connection, self)
        known = self.tables() if tables is None else [_address(table) for table in dict.fromkeys(tables)]
        for stage, name in known:
            connection.execute(f"create schema if not exists {identifier(stage)}")
            view = f"create view {identifier(stage)}.{identifier(name)} as"
            try:
                connection.execute(f"{view} select * from {self.delta_scan(stage, name)}")
            except duckdb.Error as error:
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

    def tables(self) -> list[tuple[str, str]]:
        """Every published table as (stage, name)."""
        from pyarrow import fs as pafs

        selector = pafs.FileSelector(self._bare(self.root), recursive=False, allow_not_found=True)
        found = []
        for stage in self.filesystem.get_file_info(selector):
            if stage.type != pafs.FileType.Directory:
                continue
            for table in self.filesystem.get_file_info(pafs.FileSelector(stage.path)):
                log = self.filesystem.get_file_info(f"{table.path}/_delta_log")
                if log.type == pafs.FileType.Directory:
                    found.append((stage.base_name, table.base_name))
        return sorted(found)

    def _bare(self, uri: str) -> str:
        return uri.removeprefix("s3://")


def load_duckdb_extensions(connection: duckdb.DuckDBPyConnection, lake: LakeReader) -> None:
    """Teach a DuckDB connection to read `lake`: Delta, S3 where it is remote, and UTC."""
    names = ["httpfs", "delta"] if lake.remote else ["delta"]
    for name in names:
        connection.execute(f"LOAD '{duckdb_extension(name)}'")
    connection.execute("SET allow_unsigned_extensions = false")
    connection.execute("SET TimeZone = 'UTC'")
    if lake.remote:
        secrets = {
            k: (os.environ.get(k) or "").replace("'", "''")
            for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }
        url = urlparse(lake.endpoint or f"https://s3.{lake.region}.amazonaws.com")
        connection.execute(
            f"""create or replace secret lake (type s3, key_id '{secrets["AWS_ACCESS_KEY_ID"]}',
            secret '{secrets["AWS_SECRET_ACCESS_KEY"]}', region '{lake.region}', endpoint '{url.netloc}',
            url_style 'path', use_ssl {str(url.scheme == "https").lower()})"""
        )


def duckdb_extension(name: str) -> str:
    """Path of an extension shipped as a wheel (`duckdb-extension-<name>`)."""
    import importlib.util

    import duckdb

    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise LakeError(f"the package duckdb-extension-{name} is not installed; run `make setup`")
    folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    return str(folder / f"{name}.duckdb_extension")


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def literally(uri: str) -> str:
    """The address for DuckDB, which takes it for a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in uri)


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _address(table: str) -> tuple[str, str]:
    stage, slash, name = table.partition("/")
    if not (stage and slash and name):
        raise LakeError(f"{table!r} is no table; write it as stage/table, such as bronze/users", table=table)
    return stage, name
