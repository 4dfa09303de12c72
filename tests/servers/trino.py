"""A real Trino over a Delta lake on S3: the server's own release from Maven, without what Delta does not need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import ended, patience
from tests.required import missing
from tests.servers.builds import cached, free_port, need, run
from tests.servers.s3 import S3

VERSION = "476"
_PLUGINS = ("delta-lake", "iceberg")


def build() -> Path:
    """The server's folder, downloaded and pruned where it is not yet cached."""

    def unpack_into(folder: Path) -> None:
        maven = need("mvn", "Trino comes from Maven")
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            run(
                maven, "-q", "-B", "-ntp", "dependency:copy",
                f"-Dartifact=io.trino:trino-server:{VERSION}:tar.gz",
                f"-DoutputDirectory={scratch}", "-Dmdep.useBaseVersion=true",
                f"-Dmaven.repo.local={scratch}/repository",
            )  # fmt: skip
            archive = next(Path(scratch).glob("trino-server-*.tar.gz"))
            # Its plugins share their jars by hard links, so one alone cannot be unpacked.
            run("tar", "-xzf", str(archive), "-C", scratch)
            top = Path(scratch) / f"trino-server-{VERSION}"
            for kept in ("lib", *(f"plugin/{name}" for name in _PLUGINS)):
                (folder / kept).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(top / kept, folder / kept)

    return cached(f"trino-{VERSION}-{len(_PLUGINS)}", unpack_into)


def java() -> str:
    """A JDK of at least 24, which this Trino wants."""
    homes = [os.environ.get("TRINO_JAVA_HOME"), os.environ.get("JAVA_HOME")]
    homes += sorted(map(str, Path("/usr/lib/jvm").glob("*")), reverse=True)
    for home in filter(None, homes):
        program = Path(home) / "bin" / "java"
        if program.is_file():
            said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= 24:
                return str(program)
    missing("no JDK of version 24 or newer: Trino needs one (TRINO_JAVA_HOME)")
    raise AssertionError("unreachable")


@contextmanager
def trino(folder: Path, server: S3, warehouse: str, iceberg: str = "", metastore: str = "") -> Iterator[int]:
    """A coordinator with one catalog `lake`, whose schemas lie below `warehouse` (s3://…). Yields its port.

    With the address of an Iceberg REST catalog it has a second one, `iceberg`. With that of a Hive Metastore, `lake` has
    the tables of that.
    """
    program, home, port = java(), build(), free_port()
    (folder / "etc" / "catalog").mkdir(parents=True)
    (folder / "data").mkdir()
    files = {
        "node.properties": f"node.environment=test\nnode.id=test\nnode.data-dir={folder / 'data'}\n",
        "config.properties": (
            "coordinator=true\nnode-scheduler.include-coordinator=true\n"
            f"http-server.http.port={port}\ndiscovery.uri=http://127.0.0.1:{port}\n"
            "node.internal-address=127.0.0.1\nquery.max-memory=400MB\nquery.max-memory-per-node=400MB\n"
            "memory.heap-headroom-per-node=200MB\ncatalog.management=static\n"
        ),
        "log.properties": "io.trino=WARN\n",
        "catalog/lake.properties": (
            f"connector.name=delta_lake\n{_names(warehouse, metastore)}"
            "delta.register-table-procedure.enabled=true\ndelta.enable-non-concurrent-writes=true\n"
            "delta.metadata.cache-ttl=0s\ndelta.metadata.live-files.cache-ttl=0s\n"
            "fs.native-s3.enabled=true\n"
            f"s3.endpoint={server.endpoint}\ns3.region={server.region}\ns3.path-style-access=true\n"
            f"s3.aws-access-key={server.access_key}\ns3.aws-secret-key={server.secret_key}\n"
        ),
    }
    if iceberg:
        files["catalog/iceberg.properties"] = (
            f"connector.name=iceberg\niceberg.catalog.type=rest\niceberg.rest-catalog.uri={iceberg}\n"
            f"fs.native-s3.enabled=true\ns3.endpoint={server.endpoint}\ns3.region={server.region}\n"
            "s3.path-style-access=true\n"
            f"s3.aws-access-key={server.access_key}\ns3.aws-secret-key={server.secret_key}\n"
        )
    for name, text in files.items():
        (folder / "etc" / name).write_text(text)
    command = [
        program, "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djdk.attach.allowAttachSelf=true",
        "--add-modules=jdk.incubator.vector", "-Dfile.encoding=UTF-8",
        "-Dnode.environment=test",
        f"-Dconfig={folder / 'etc' / 'config.properties'}", f"-Dlog.levels-file={folder / 'etc' / 'log.properties'}",
        f"-Dplugin.dir={home / 'plugin'}", f"-Dcatalog.config-dir={folder / 'etc' / 'catalog'}",
        f"-Dnode.data-dir={folder / 'data'}", "-Dnode.id=test",
        "-cp", f"{home / 'lib'}/*", "io.trino.server.TrinoServer",
    ]  # fmt: skip
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + patience(240)
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError("Trino did not start:\n" + (folder / "server.log").read_text()[-3000:])
            time.sleep(0.5)
        yield port
    finally:
        ended(process, 60)
        log.close()
        shutil.rmtree(folder / "data", ignore_errors=True)


def _names(warehouse: str, metastore: str) -> str:
    """Where it keeps the names of tables."""
    if metastore:
        return f"hive.metastore=thrift\nhive.metastore.uri={metastore}\n"
    return (
        f"hive.metastore=file\nhive.metastore.catalog.dir={warehouse}/_metastore\n"
        "hive.metastore.disable-location-checks=true\n"
    )


def _ready(port: int) -> bool:
    """Whether a statement is answered: a server that has started may not have found its own node yet."""
    import trino

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/info", timeout=patience(2)) as response:
            if b'"starting":false' not in response.read():
                return False
        return query(port, "select count(*) from lake.information_schema.schemata") != []
    except OSError:
        return False
    except trino.exceptions.TrinoQueryError as error:
        if error.error_name == "NO_NODES_AVAILABLE":
            return False
        raise


def query(port: int, sql: str) -> list[tuple[object, ...]]:
    """The rows of one statement."""
    return described(port, sql)[1]


def described(port: int, sql: str) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    """The columns of one statement with their types, and its rows."""
    import trino

    with trino.dbapi.connect(host="127.0.0.1", port=port, user="test", catalog="lake") as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = [tuple(row) for row in cursor.fetchall()]
        return {each[0]: each[1] for each in cursor.description or ()}, rows
