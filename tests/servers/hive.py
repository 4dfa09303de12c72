"""A real Hive Metastore, standalone from Maven: its names lie in memory (Derby), its warehouse in a folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asgard_assets.spark.java import java
from tests.patience import ended, wait_until
from tests.required import missing
from tests.servers.builds import cached, free_port, need, run

# Spark's own client asks in Hive 2's words, which Hive 3 still knows. Hive 4 knows the new ones alone.
THREE, FOUR = "3.1.3", "4.0.1"
_ARTIFACT = {THREE: "hive-standalone-metastore", FOUR: "hive-standalone-metastore-server"}
_HADOOP = "3.3.5"
_LEFT_OUT = (
    "org.apache.hadoop:hadoop-common", "org.apache.hadoop:hadoop-auth", "org.apache.hadoop:hadoop-distcp",
    "org.apache.hadoop:hadoop-mapreduce-client-core", "org.apache.orc:*", "co.cask.tephra:*", "sqlline:sqlline",
    "jdk.tools:jdk.tools", "org.slf4j:slf4j-log4j12", "log4j:log4j",
)  # fmt: skip
_MORE = (
    ("org.apache.hadoop", "hadoop-client-api", _HADOOP),
    ("org.apache.hadoop", "hadoop-client-runtime", _HADOOP),
    ("org.apache.hadoop", "hadoop-hdfs", _HADOOP),
    ("commons-cli", "commons-cli", "1.2"),
    ("commons-collections", "commons-collections", "3.2.2"),
)
_SITE = {
    "metastore.thrift.bind.host": "127.0.0.1",
    "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
    "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
    "javax.jdo.option.ConnectionURL": "jdbc:derby:memory:metastore;create=true",
    "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
    "metastore.schema.verification": "false",
    "datanucleus.schema.autoCreateAll": "true",
}


def build(version: str = THREE) -> Path:
    """The folder of its jars, downloaded where it is not yet cached."""

    def fetch_into(folder: Path) -> None:
        maven = need("mvn", "Hive Metastore comes from Maven")
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            (Path(scratch) / "pom.xml").write_text(_pom(version))
            run(
                maven, "-q", "-B", "-ntp", "dependency:copy-dependencies", "-DincludeScope=runtime",
                f"-DoutputDirectory={folder}/lib", f"-Dmaven.repo.local={scratch}/repository", cwd=Path(scratch),
            )  # fmt: skip

    return cached(f"hive-metastore-{version}", fetch_into) / "lib"


def _pom(version: str) -> str:
    own = _dependency(("org.apache.hive", _ARTIFACT[version], version), _LEFT_OUT)
    more = "".join(_dependency(each, ("*:*",)) for each in _MORE)
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>asgard</groupId><artifactId>metastore</artifactId><version>1</version><dependencies>{own}{more}"
        "</dependencies></project>"
    )


def _dependency(names: tuple[str, str, str], without: tuple[str, ...]) -> str:
    group, artifact, version = names
    excluded = "".join(
        f"<exclusion><groupId>{each.split(':')[0]}</groupId><artifactId>{each.split(':')[1]}</artifactId></exclusion>"
        for each in without
    )
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"<exclusions>{excluded}</exclusions></dependency>"
    )


@contextmanager
def metastore(folder: Path, version: str = THREE) -> Iterator[str]:
    """Yields its address, thrift://…; `folder` keeps its warehouse and its log."""
    jars, port = build(version), free_port()
    (folder / "conf").mkdir(parents=True)
    (folder / "tmp").mkdir()
    site = _SITE | {"metastore.warehouse.dir": f"{folder}/warehouse", "metastore.thrift.port": str(port)}
    text = "".join(f"<property><name>{k}</name><value>{v}</value></property>" for k, v in site.items())
    (folder / "conf" / "metastore-site.xml").write_text(f"<configuration>{text}</configuration>")
    opens = [f"--add-opens=java.base/java.{each}=ALL-UNNAMED" for each in ("net", "lang", "util")]
    command = [
        java(), "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}/tmp", *opens,
        "-cp", f"{folder}/conf:{jars}/*", "org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(port),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "TZ": "UTC"}
        )
        address = f"thrift://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is not None or _answers(address), 90, "the metastore answers")
            if process.poll() is not None:
                missing(f"the metastore ended: {(folder / 'log').read_text(errors='replace')[-800:]}")
            yield address
        finally:
            ended(process)


def _answers(address: str) -> bool:
    from asgard_assets.catalogs.hive import HiveMetastore
    from asgard_assets.errors import CatalogError

    try:
        return HiveMetastore(address).tables() == []
    except CatalogError:
        return False
