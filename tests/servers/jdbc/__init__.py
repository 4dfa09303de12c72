"""Trino's JDBC driver from Maven, in a small Java program that reads as a BI tool does."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers.builds import cached, need, run
from tests.servers.trino import VERSION, java


def driver() -> Path:
    """The driver's file, downloaded where it is not yet cached."""

    def copy_into(folder: Path) -> None:
        run(
            need("mvn", "the driver comes from Maven"), "-q", "-B", "-ntp", "dependency:copy",
            f"-Dartifact=io.trino:trino-jdbc:{VERSION}:jar", f"-DoutputDirectory={folder}",
            f"-Dmaven.repo.local={folder}/repository",
        )  # fmt: skip
        run("rm", "-r", str(folder / "repository"))

    return cached(f"trino-jdbc-{VERSION}", copy_into) / f"trino-jdbc-{VERSION}.jar"


def read(
    port: int, place: tuple[str, str, str], query: str, parameter: str
) -> dict[str, list[tuple[str, ...]]]:
    """What the program saw of a table (catalog, schema, name): `table`, `column` and `row`, each with its lines."""
    program = [
        java(),
        "-XX:TieredStopAtLevel=1",
        "-cp",
        str(driver()),
        str(Path(__file__).with_name("Read.java")),
    ]
    command = [*program, f"jdbc:trino://127.0.0.1:{port}/{place[0]}", *place, query, parameter]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[tuple[str, ...]]] = {"table": [], "column": [], "row": []}
    for line in done.stdout.splitlines():
        kind, *values = line.split("\t")
        found[kind].append(tuple(values))
    return found
