"""A dbt-duckdb connection that can read the lake."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from dbt.adapters.contracts.connection import Connection
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials, PluginConfig
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.config.profile import Profile

from asgard_assets.lake import Lake
from asgard_assets.lake.reader import load_duckdb_extensions, quoted
from asgard_assets.roots import checked_root
from asgard_assets.settings import Settings


@dataclass
class DeltaCredentials(DuckDBCredentials):
    """dbt-duckdb's profile and one word more: `lake`, a folder or s3://bucket/prefix."""

    lake: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = {"TimeZone": "UTC", **(self.settings or {})}
        self.plugins = [*(self.plugins or []), PluginConfig(module=__name__, alias="delta_lake")]

    @property
    def type(self) -> str:
        return "delta"

    def _connection_keys(self) -> tuple[str, ...]:
        return (*super()._connection_keys(), "lake")

    def opened(self) -> Lake:
        """The lake of this profile; where it names none, that of the settings (ASGARD_LAKE)."""
        settings = Settings()
        root = checked_root(self.lake, "lake of the dbt profile") if self.lake else settings.lake_root
        return Lake(root, settings.s3_endpoint, settings.s3_region)


class DeltaConnectionManager(DuckDBConnectionManager):
    """dbt-duckdb keeps its one database on its own class, where its other modules look for it."""

    TYPE = "delta"

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        return DuckDBConnectionManager.open(connection)

    @classmethod
    def close_all_connections(cls) -> None:
        DuckDBConnectionManager.close_all_connections()


class Plugin(BasePlugin):
    """Loads what DuckDB needs to read the lake, from wheels: nothing is downloaded."""

    def configure_connection(self, conn: Any) -> None:
        assert isinstance(self.creds, DeltaCredentials)
        if "temp_directory" not in {**(self.creds.config_options or {}), **(self.creds.settings or {})}:
            # What does not fit into memory is spilled beside other temporary files, not into the project. Not
            # part of the profile: dbt parses all again where that differs from the last run's.
            spill = os.path.join(tempfile.gettempdir(), f"dbt-delta-{os.getpid()}")
            conn.execute(f"set temp_directory = {quoted(spill)}")
        load_duckdb_extensions(conn, self.creds.opened())


_to_target_dict = Profile.to_target_dict


def _as_duckdb(profile: Profile) -> dict[str, Any]:
    """`target.type` is what a project's macros ask for the SQL dialect: that is DuckDB's."""
    target = _to_target_dict(profile)
    return {**target, "type": "duckdb"} if target["type"] == "delta" else target


Profile.to_target_dict = _as_duckdb
