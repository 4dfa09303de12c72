"""Sources that the project reads itself, connected through the API: Postgres, MySQL and topics of Kafka."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from asgard_assets.components.platform.sources import ManagedIngestion, ManagedSource, keep, kept
from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.operations.ingestion.airbyte import DataSource, Ingestion, IngestionStatus
from asgard_assets.operations.ingestion.cron import airbyte_cron, next_tick
from asgard_assets.operations.transforms.submissions import Outcome, Submission, Submissions
from asgard_assets.settings import Settings

KINDS = ("postgres", "mysql", "kafka")
_PORTS = {"postgres": 5432, "mysql": 3306}
_SHOWN = ("host", "port", "database", "username", "schema", "tables", "topics")
_TLS = {"postgres": "prefer", "mysql": "disable"}


@dataclass(frozen=True)
class Databases:
    """The sources and ingestions that the lake keeps. Runs go through the queue of submissions."""

    lake: Lake
    settings: Settings
    submissions: Submissions
    clock: Callable[[], float] = time.time

    def sources(self, workspace: str) -> list[DataSource]:
        return [_shown(one) for one in kept(self.lake, ManagedSource) if one.workspace == workspace]

    def add_source(self, kind: str, workspace: str, config: Mapping[str, Any], name: str) -> DataSource:
        """Raises ConfigError where the configuration cannot be one. A password is kept in a file of this machine."""
        id = secrets.token_hex(8)
        told = dict(config)
        password = str(told.pop("password", "") or "")
        try:
            made = (
                self._kafka(id, workspace, told, name)
                if kind == "kafka"
                else self._database(id, kind, workspace, told, name)
            )
            if made.server is not None and password:
                reference = (
                    password
                    if re.match(r"(env|file|aws-secret|vault):", password)
                    else self._hidden(id, password)
                )
                server = made.server.model_copy(update={"password": reference})
                made = ManagedSource.model_validate({**made.model_dump(), "server": server.model_dump()})
        except ValidationError as error:
            raise ConfigError(f"source_config: {_first(error)}") from None
        keep(self.lake, made)
        return _shown(made)

    def _database(self, id: str, kind: str, workspace: str, told: dict[str, Any], name: str) -> ManagedSource:
        server = {
            "type": kind,
            "host": told.pop("host", ""),
            "port": told.pop("port", _PORTS[kind]),
            "database": told.pop("database", ""),
            "user": told.pop("username", told.pop("user", "")),
            "tls": told.pop("tls", told.pop("sslmode", _TLS[kind])),
        }
        schemas = told.pop("schemas", None) or [told.pop("schema", "public" if kind == "postgres" else "")]
        tables, loads = told.pop("tables", told.pop("streams", ())), told.pop("load", {})
        if told:
            raise ConfigError(
                f"source_config: {', '.join(sorted(told))[:200]} is not known of a {kind} source"
            )
        return ManagedSource.model_validate(
            {"source_id": id, "name": name, "source_type": kind, "workspace": workspace, "server": server,
             "db_schema": schemas[0], "streams": tuple(tables), "cursors": loads, "created": int(self.clock())}
        )  # fmt: skip

    def _kafka(self, id: str, workspace: str, told: dict[str, Any], name: str) -> ManagedSource:
        servers = told.pop("bootstrap_servers", told.pop("brokers", self.settings.kafka))
        if servers != self.settings.kafka:
            raise ConfigError(
                f"source_config: bootstrap_servers: the broker of this platform is {self.settings.kafka or 'none'}; name "
                "another one in ASGARD_KAFKA"
            )
        topics = told.pop("topics", None) or [told.pop("topic", "")]
        if told or not all(topics):
            raise ConfigError(
                "source_config: expected topics (or topic), and no more than bootstrap_servers beside it"
            )
        for topic in topics:
            StreamSource(name="t", topic=topic, description="")  # raises ValidationError
        return ManagedSource(
            source_id=id,
            name=name,
            source_type="kafka",
            workspace=workspace,
            streams=tuple(topics),
            created=int(self.clock()),
        )

    def _hidden(self, id: str, password: str) -> str:
        """The password in a file that only this user may read, as a reference."""
        if self.settings.env == "production":
            raise ConfigError(
                "source_config: password: in production send a reference, such as env:SHOP_PASSWORD: other pods do not see what "
                "this one keeps. secrets.sources of the Helm chart holds the value"
            )
        folder = self.settings.home.absolute() / "gateway" / "secrets"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(folder) / id
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
        return f"file:{path}"

    def source(self, source_id: str, workspace: str) -> ManagedSource | None:
        """The source, where it is one of these."""
        found = (one for one in kept(self.lake, ManagedSource) if one.source_id == source_id)
        return next((one for one in found if one.workspace == workspace), None)

    def ingest(
        self, source: ManagedSource, destination_id: str, name: str, cron: str, account: str
    ) -> Ingestion:
        """Make the tables of a source assets, and queue a run of each.

        Raises SourceError where the database does not answer, ConflictError where its tables are read already.
        """
        if cron:
            airbyte_cron(cron)  # raises ConfigError for what is no cron line
        prefix = re.sub(r"[^a-z0-9]+", "_", source.name.lower()).strip("_") or "source"
        prefix = prefix if prefix[0].isalpha() else f"s_{prefix}"
        database = self._read(source, prefix) if source.server else None
        topics = tuple(
            StreamSource(name=f"{prefix}_{_plain(topic)}", topic=topic, description=f"Records of {topic}.")
            for topic in (source.streams if source.server is None else ())
        )
        tables = {topic.topic.rpartition(".")[2]: topic.name for topic in topics}
        if database:
            tables = {
                _plain((t.table or "").rpartition(".")[2]): database.bronze_name(t) for t in database.tables
            }
        known = {table for one in kept(self.lake, ManagedIngestion) for table in one.tables.values()}
        if taken := sorted(
            known & {*tables.values()} | {t for t in tables.values() if self.lake.version("bronze", t) >= 0}
        ):
            raise ConflictError(f"bronze/{taken[0]} is there already; give the source another name")
        made = ManagedIngestion(
            connection_id=secrets.token_hex(8), name=name, source_id=source.source_id, destination_id=destination_id,
            workspace=source.workspace, schedule=cron, tables=tables, database=database, topics=topics, created=int(self.clock()),
        )  # fmt: skip
        keep(self.lake, made)
        self._queue(made, account)
        return self._ingestion(made)

    def _queue(self, made: ManagedIngestion, account: str = "") -> None:
        """The first run of each table; one that is queued already stays as it is."""
        for table in made.tables.values():
            run = Submission(
                _run_id(made, table), f"bronze/{table}", 0, self.clock(), made.workspace, account
            )
            self.submissions.add(run)

    def mend(self) -> None:
        """Queue what a process has kept, and ended before it could queue it."""
        for one in kept(self.lake, ManagedIngestion):
            self._queue(one)

    def started(self, made: Ingestion) -> Ingestion:
        """The ingestion with its first runs, which are queued unless they were."""
        for one in kept(self.lake, ManagedIngestion):
            if one.connection_id == made.connection_id:
                self._queue(one)
        return made

    def _read(self, source: ManagedSource, prefix: str) -> SqlSource:
        """The source's tables, with their keys, as the database lists them."""
        from asgard_assets.ingest.sql.listing import tables_of

        assert source.server is not None
        found = tables_of(source.server, source.db_schema, source.name)
        if unknown := [name for name in source.streams if name not in found]:
            raise ConfigError(
                f"the database has no table {', '.join(unknown)[:200]}; it has {', '.join(found)[:500] or 'none'}"
            )
        if not found:
            raise ConfigError(
                f"the schema {source.db_schema or source.server.database} has no tables that this user may read"
            )
        tables = [
            {"table": table, "key": key, "load": source.cursors.get(table, {"type": "snapshot"})}
            for table, key in found.items()
            if table in source.streams or not source.streams
        ]
        document: dict[str, Any] = {
            "name": prefix, "prefix": f"{prefix}_", "database": source.server.model_dump(), "tables": tables,
            **({"schema": source.db_schema} if source.db_schema else {}),
        }  # fmt: skip
        try:
            return SqlSource.model_validate(document)
        except ValidationError as error:
            raise ConfigError(
                f"{_first(error)}. Name the tables that are wanted in source_config.tables"
            ) from None

    def ingestions(self, workspace: str) -> list[Ingestion]:
        return [
            self._ingestion(one) for one in kept(self.lake, ManagedIngestion) if one.workspace == workspace
        ]

    def streams(self, workspace: str) -> dict[str, str]:
        """Table of the lake of each stream; of two streams with one name the older."""
        found = dict[str, str]()
        for one in kept(self.lake, ManagedIngestion):
            for stream, table in one.tables.items() if one.workspace == workspace else ():
                found.setdefault(stream, f"bronze/{table}")
        return found

    def status(self, connection_id: str, sees: Callable[[str], bool]) -> IngestionStatus | None:
        """None where it is none of these. Raises NotFoundError where the caller may not see it."""
        found = next(
            (one for one in kept(self.lake, ManagedIngestion) if one.connection_id == connection_id), None
        )
        if found is None:
            return None
        if not sees(found.workspace):
            raise NotFoundError(f"there is no ingestion {connection_id}")
        ends = self._ends(found)
        done = [end for end in ends if end is not None]
        last = max((end.finished for end in done if end.ok), default=None)
        rows = sum(part.rows for table in found.tables.values() for part in self.lake.live("bronze", table))
        return IngestionStatus(
            connection_id, _word(ends), None,
            None if last is None else datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds"),
            next_tick(airbyte_cron(found.schedule), datetime.fromtimestamp(self.clock(), UTC)) if found.schedule else None,
            rows if done else None,
            "; ".join(reason for end in done if not end.ok for reason in end.reasons)[:2000],
        )  # fmt: skip

    def _ends(self, one: ManagedIngestion) -> list[Outcome | None]:
        """How the run of each table ended. Read once: what is told of them then fits together."""
        return [self.submissions.outcome(_run_id(one, table)) for table in one.tables.values()]

    def _ingestion(self, one: ManagedIngestion) -> Ingestion:
        return Ingestion(
            one.connection_id, one.name, one.source_id, one.destination_id, one.workspace, _word(self._ends(one)), None,
            tuple(one.tables), one.schedule,
        )  # fmt: skip


def _word(ends: Sequence[Outcome | None]) -> Literal["SUBMITTED", "RUNNING", "COMPLETED", "FAILED"]:
    if all(end is None for end in ends):
        return "SUBMITTED"
    if any(end is None for end in ends):
        return "RUNNING"
    return "COMPLETED" if all(end and end.ok for end in ends) else "FAILED"


def _run_id(one: ManagedIngestion, table: str) -> str:
    return hashlib.sha256(f"{one.connection_id}/{table}".encode()).hexdigest()[:24]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _shown(one: ManagedSource) -> DataSource:
    told: dict[str, Any] = {"topics": list(one.streams)}
    if one.server is not None:
        server = one.server
        told = {
            "host": server.host,
            "port": server.port,
            "database": server.database,
            "username": server.user,
        }
        told |= {"schema": one.db_schema, "tables": list(one.streams)}
    config = {name: value for name, value in told.items() if name in _SHOWN and value not in ("", [])}
    return DataSource(one.source_id, one.name, one.source_type, one.workspace, config)
