"""A real Nessie, from Maven, whose Iceberg REST catalog keeps its tables on an S3 server; its own state is in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import ended, wait_until
from tests.required import missing
from tests.servers.builds import answers, cached, free_port, need, run
from tests.servers.s3 import S3
from tests.servers.trino import java

VERSION = "0.99.0"


def build() -> Path:
    """The server's file, downloaded where it is not yet cached."""

    def copy_into(folder: Path) -> None:
        run(
            need("mvn", "Nessie comes from Maven"), "-q", "-B", "-ntp", "dependency:copy",
            f"-Dartifact=org.projectnessie.nessie:nessie-quarkus:{VERSION}:jar:runner",
            f"-DoutputDirectory={folder}", f"-Dmaven.repo.local={folder}/repository",
        )  # fmt: skip
        run("rm", "-r", str(folder / "repository"))

    return cached(f"nessie-{VERSION}", copy_into) / f"nessie-quarkus-{VERSION}-runner.jar"


@contextmanager
def nessie(folder: Path, server: S3, warehouse: str) -> Iterator[str]:
    """Yields the address of the Iceberg REST catalog, whose tables lie below `warehouse` (s3://…) on `server`."""
    program, jar, port = java(), build(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    keys = "urn:nessie-secret:quarkus:keys"
    options = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": str(port),
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": str(free_port()),
        "nessie.version.store.type": "IN_MEMORY",
        "nessie.catalog.default-warehouse": "lake",
        "nessie.catalog.warehouses.lake.location": warehouse,
        "nessie.catalog.service.s3.default-options.endpoint": server.endpoint,
        "nessie.catalog.service.s3.default-options.region": server.region,
        "nessie.catalog.service.s3.default-options.path-style-access": "true",
        "nessie.catalog.service.s3.default-options.access-key": keys,
        "keys.name": server.environment["AWS_ACCESS_KEY_ID"],
        "keys.secret": server.environment["AWS_SECRET_ACCESS_KEY"],
    }
    command = [program, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [f"-D{name}={value}" for name, value in options.items()]
    address = f"http://127.0.0.1:{port}/iceberg"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-jar", str(jar)], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(
                lambda: process.poll() is not None or answers(f"{address}/v1/config"), 90, "Nessie answers"
            )
            if process.poll() is not None:
                missing(f"Nessie ended: {(folder / 'log').read_text(errors='replace')[-800:]}")
            yield address
        finally:
            ended(process)
