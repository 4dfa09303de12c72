"""A real schema registry, Apicurio's release from Maven, with Confluent's API, in memory."""

from __future__ import annotations

import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import ended, wait_until
from tests.required import missing
from tests.servers.builds import answers, cached, free_port, need, run
from tests.servers.trino import java

VERSION = "3.3.3"


def build() -> Path:
    """The server's folder, downloaded where it is not yet cached."""

    def unpack_into(folder: Path) -> None:
        maven = need("mvn", "Apicurio comes from Maven")
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            run(
                maven, "-q", "-B", "-ntp", "dependency:copy",
                f"-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all",
                f"-DoutputDirectory={scratch}", f"-Dmaven.repo.local={scratch}/repository",
            )  # fmt: skip
            archive = next(Path(scratch).glob("apicurio-registry-app-*.tar.gz"))
            run("tar", "-xzf", str(archive), "-C", str(folder))

    return cached(f"apicurio-{VERSION}", unpack_into)


@contextmanager
def apicurio(folder: Path) -> Iterator[str]:
    """Yields the address of Confluent's API. New schemas must be readable by who knows the earlier ones."""
    program, home, port = java(), build(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    options = {"quarkus.http.host": "127.0.0.1", "quarkus.http.port": str(port)}
    options |= {"quarkus.management.host": "127.0.0.1", "quarkus.management.port": str(free_port())}
    command = [program, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [f"-D{name}={value}" for name, value in options.items()]
    address = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-jar", "quarkus-run.jar"], cwd=home, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_until(
                lambda: process.poll() is not None or answers(f"{address}/subjects"), 60, "Apicurio answers"
            )
            if process.poll() is not None:
                missing(f"Apicurio ended: {(folder / 'log').read_text(errors='replace')[-800:]}")
            asked = urllib.request.Request(
                f"{address}/config",
                b'{"compatibility": "BACKWARD"}',
                {"Content-Type": "application/json"},
                method="PUT",
            )
            urllib.request.urlopen(asked, timeout=30).close()
            yield address
        finally:
            ended(process)
