"""A dbt-duckdb connection that can read the lake."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from dbt.adapters.contracts.connection import Connection
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials, PluginConfig
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake, duck
from asgard_assets.lake.duck import Reach
from asgard_assets.roots import checked_root
from asgard_assets.settings import Settings


@dataclass
class DeltaCredentials(DuckDBCredentials):
    """dbt-duckdb's profile and two words more: `lake`, a folder or s3://bucket/prefix, and `reach`, what else models
    may read and write: folders, files and addresses outside the project."""

    lake: str = ""
    reach: list[str] = field(default_factory=list)
    project: ClassVar[str] = ""
    """The project's folder, by the adapter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # A date of a model is a day of the calendar: its midnights, and the day of a moment, are those of the zone.
        self.settings = {"TimeZone": Settings().time_zone, **(self.settings or {})}
        self.plugins = [*(self.plugins or []), PluginConfig(module=__name__, alias="delta_lake")]

    @property
    def type(self) -> str:
        return "delta"

    def _connection_keys(self) -> tuple[str, ...]:
        return (*super()._connection_keys(), "lake", "reach")

    def opened(self) -> Lake:
        """The lake of this profile; where it names none, that of the settings (ASGARD_LAKE)."""
        settings = Settings()
        root = checked_root(self.lake, "lake of the dbt profile") if self.lake else settings.lake_root
        return Lake(root, settings.s3_endpoint, settings.s3_region)

    def may_reach(self) -> Reach:
        """The lake, the project's folder, and what the profile names; settings of a query and those of the profile."""
        paths = (self.project, *self.reach)
        given = {**(self.config_options or {}), **(self.settings or {})}
        return duck.reaching(self.opened(), filter(None, paths), (*_SETTINGS, *given))


class Beside(Protocol):
    """What knows the tables of the lake that SQL may name without dbt's graph knowing of it."""

    def before(self, cursor: Any, sql: str) -> None:
        """Make writable what the statement writes to."""
        ...

    def find(self, cursor: Any, sql: str, missed: str) -> bool:
        """Show what DuckDB missed; False where the lake has none of it."""
        ...


class DeltaConnectionManager(DuckDBConnectionManager):
    """dbt-duckdb keeps its one database on its own class, where its other modules look for it."""

    TYPE = "delta"
    beside: Beside | None = None

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        return DuckDBConnectionManager.open(connection)

    @classmethod
    def close_all_connections(cls) -> None:
        DuckDBConnectionManager.close_all_connections()

    def add_query(self, sql: str, *args: Any, **kwargs: Any) -> Any:
        """Run SQL of a project; what DuckDB's lock does not hold for is refused."""
        credentials = self.profile.credentials
        assert isinstance(credentials, DeltaCredentials)
        try:
            duck.refuse_unlocked(credentials.may_reach(), sql)
        except ConfigError as error:
            raise DbtRuntimeError(str(error)) from error
        if self.beside:
            self.beside.before(self.get_thread_connection().handle.cursor(), sql)
        while True:
            try:
                # Again with a new cursor, which has the keys of now.
                return credentials.opened().patiently(
                    lambda: super(DeltaConnectionManager, self).add_query(sql, *args, **kwargs)
                )
            except DbtRuntimeError as error:
                if "Catalog Error" not in str(error) or not self.beside:
                    raise
                if not self.beside.find(self.get_thread_connection().handle.cursor(), sql, str(error)):
                    raise


# What a model's hook may set: how a query runs, never what it reaches.
_SETTINGS = (
    "TimeZone threads worker_threads memory_limit max_memory preserve_insertion_order search_path schema "
    "default_order default_null_order null_order integer_division ieee_floating_point_ops scalar_subquery_error_on_multiple_rows "
    "enable_object_cache enable_progress_bar max_expression_depth partitioned_write_flush_threshold "
    "partitioned_write_max_open_files pivot_limit pivot_filter_threshold order_by_non_integer_literal arrow_large_buffer_size "
    "enable_profiling profiling_mode perfect_ht_threshold nested_loop_join_threshold merge_join_threshold "
    "prefer_range_joins dynamic_or_filter_threshold old_implicit_casting default_collation calendar http_timeout http_retries".split()
)


class Plugin(BasePlugin):
    """Loads what DuckDB needs to read the lake, from wheels, and locks it once the profile's own wishes are met:
    its extensions, secrets and attached databases."""

    def configure_connection(self, conn: Any) -> None:
        assert isinstance(self.creds, DeltaCredentials)
        duck.teach(conn, self.creds.may_reach().stores)

    def configure_cursor(self, cursor: Any) -> None:
        assert isinstance(self.creds, DeltaCredentials)
        reach = self.creds.may_reach()
        if cursor.execute("select current_setting('lock_configuration')").fetchone() == (True,):
            duck.give_keys(cursor, reach.stores)
            return
        given = {**(self.creds.config_options or {}), **(self.creds.settings or {})}
        # What does not fit into memory is spilled beside other temporary files, not into the project. Not
        # part of the profile: dbt parses all again where that differs from the last run's.
        spill = os.path.join(tempfile.gettempdir(), f"dbt-delta-{os.getpid()}")
        duck.lock(cursor, reach, given.get("temp_directory", spill))
