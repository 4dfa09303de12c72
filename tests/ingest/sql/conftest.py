"""A Postgres and a MariaDB, started once; each test has a lake, and tables with names of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asgard_assets.ingest.sql.load import Loaded, commit, load
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.lake import Lake
from asgard_assets.windows import Calendar
from tests.servers.mariadb import MariaDb, mariadb
from tests.servers.postgres import Postgres, postgres

NOW = datetime(2026, 10, 5, 12, tzinfo=UTC)
TODAY = "2026-10-05"


@dataclass
class Database:
    """A server, and statements to it."""

    kind: str
    server: Any
    lake: Lake
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    def run(self, *statements: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.replace("TABLE", self.name))

    def connect(self) -> Any:
        if self.kind == "mariadb":
            return self.server.connect()
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.server.port, user=self.server.user, dbname=self.server.database
        )
        connection.autocommit = True
        return connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query.replace("TABLE", self.name))
            return list(cursor.fetchall())

    def source(self, table: dict[str, Any] | None = None, **options: Any) -> SqlSource:
        server = {
            "type": self.kind,
            "host": "127.0.0.1",
            "port": self.server.port,
            "database": self.server.database,
            "user": self.server.user,
            "password": "env:SQL_PASSWORD",
        }
        told = {"table": self.name, "name": "t"} | (table or {})
        told = {name: value for name, value in told.items() if value is not None}
        return SqlSource.model_validate({"name": "shop", "database": server, "tables": [told], **options})

    def load(
        self,
        table: dict[str, Any] | None = None,
        days: Sequence[str] = (TODAY,),
        *,
        full: bool = False,
        **options: Any,
    ) -> Loaded:
        """Load the test's table as bronze/t, and publish it."""
        source = self.source(table, **options)
        loaded = load(
            self.lake, source, source.tables[0], list(days), Calendar(), full=full, clock=lambda: NOW
        )
        commit(self.lake, loaded, list(days))
        return loaded

    def bronze(self, order: str = "id") -> list[dict[str, Any]]:
        table = self.lake.table("bronze", "t")
        rows = table.to_pyarrow_table().to_pylist() if table else []
        return sorted(rows, key=lambda row: (row.get(order) is None, row.get(order)))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("postgres") / "server") as started:
        yield started


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDb]:
    with mariadb() as started:
        yield started


@pytest.fixture
def on_postgres(postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("SQL_PASSWORD", postgres_server.password)
    return Database("postgres", postgres_server, Lake(str(tmp_path / "lake")))


@pytest.fixture
def on_mariadb(mariadb_server: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("SQL_PASSWORD", mariadb_server.password)
    return Database("mariadb", mariadb_server, Lake(str(tmp_path / "lake")))


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(f"on_{request.param}")
