"""A real Kafka Connect with Debezium's connector for Postgres: one worker, its jars from Maven."""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asgard_assets.spark.java import java
from deployments.local.streaming.postgres import Postgres
from tests.patience import patience, wait_until
from tests.required import missing
from tests.servers.builds import answers, cached, free_port, need, run

KAFKA, DEBEZIUM = "4.3.1", "3.6.1.Final"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>asgard</groupId><artifactId>connect</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>{KAFKA}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>{KAFKA}</version></dependency>
</dependencies></project>
"""
_WORKER = """\
bootstrap.servers={kafka}
group.id=connect-{port}
listeners=http://127.0.0.1:{port}
plugin.path={plugins}
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
exactly.once.source.support=enabled
config.storage.topic=connect-{port}-configs
offset.storage.topic=connect-{port}-offsets
status.storage.topic=connect-{port}-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.replication.factor=1
status.storage.partitions=1
"""


def build() -> Path:
    """Connect's jars in `lib`, the connector in `plugins`; downloaded where they are not yet cached."""

    def fetch_into(folder: Path) -> None:
        maven = need("mvn", "Kafka Connect comes from Maven")
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            (Path(scratch) / "pom.xml").write_text(_POM)
            local = f"-Dmaven.repo.local={scratch}/repository"
            run(
                maven, "-q", "-B", "-ntp", "dependency:copy-dependencies", "-DincludeScope=runtime",
                f"-DoutputDirectory={folder}/lib", local, cwd=Path(scratch),
            )  # fmt: skip
            run(
                maven, "-q", "-B", "-ntp", "dependency:copy",
                f"-Dartifact=io.debezium:debezium-connector-postgres:{DEBEZIUM}:tar.gz:plugin",
                f"-DoutputDirectory={scratch}", local,
            )  # fmt: skip
            (folder / "plugins").mkdir()
            archive = next(Path(scratch).glob("debezium-*.tar.gz"))
            run("tar", "-xzf", str(archive), "-C", str(folder / "plugins"))

    return cached(f"debezium-{DEBEZIUM}-{KAFKA}", fetch_into)


@dataclass
class Connect:
    """A worker over a folder. Started again, it goes on where its topics say."""

    folder: Path
    kafka: str
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        home = build()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings, log = self.folder / "worker.properties", self.folder / "worker.log"
        settings.write_text(_WORKER.format(kafka=self.kafka, port=self.port, plugins=home / "plugins"))
        command = [java(), "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/lib/*"]
        with log.open("ab") as out:
            self._process = process = subprocess.Popen(
                [*command, "org.apache.kafka.connect.cli.ConnectDistributed", str(settings)],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        wait_until(
            lambda: process.poll() is not None or answers(f"{self.address}/connectors"), 90, "Connect answers"
        )
        if process.poll() is not None:
            missing(f"Kafka Connect ended: {log.read_text(errors='replace')[-1500:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def follow(self, name: str, database: Postgres, table: str) -> str:
        """Send the changes of a table; returns the topic."""
        config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": "127.0.0.1", "database.port": str(database.port), "database.user": database.user,
            "database.password": "none", "database.dbname": database.database, "topic.prefix": name,
            "plugin.name": "pgoutput", "slot.name": name, "publication.name": name,
            "publication.autocreate.mode": "filtered", "table.include.list": table, "skipped.operations": "none",
            "decimal.handling.mode": "string", "time.precision.mode": "isostring",
            "exactly.once.support": "required", "transaction.boundary": "poll",
        }  # fmt: skip
        self._ask("PUT", f"/connectors/{name}/config", config)
        return f"{name}.{table}"

    def _ask(self, method: str, path: str, body: Any) -> None:
        def taken() -> bool:
            request = urllib.request.Request(
                f"{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
            )  # fmt: skip
            try:
                urllib.request.urlopen(request, timeout=patience(20)).close()
                return True
            except urllib.error.HTTPError as error:
                if error.code in (409, 500, 503):  # it settles who leads
                    return False
                raise AssertionError(error.read().decode()) from error

        wait_until(taken, 30, "Connect takes the connector", pause=1)


@contextmanager
def connect(folder: Path, kafka: str) -> Iterator[Connect]:
    worker = Connect(folder, kafka, free_port())
    try:
        worker.start()
        yield worker
    finally:
        worker.kill()
