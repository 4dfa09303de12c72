"""The Spark session: one per process, opened when a step first asks for it."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings
from asgard_assets.spark import log_store
from asgard_assets.spark.jars import fetch, installed, jar_folder
from asgard_assets.spark.java import java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


def lake_conf(settings: Settings, cache: str | None = None) -> dict[str, str]:
    """What every driver needs to read and write the lake, wherever it runs; `cache` is where its jars lie."""
    jars, store = jar_folder(settings), log_store.jar(settings)
    path = f"{jars}/*"
    remote = is_remote(settings.lake_root)
    if remote:
        path += f"{os.pathsep}{store}"
    if cache:
        path = path.replace(str(settings.cache), cache)
    conf = {
        "spark.log.level": "ERROR",
        "spark.driver.extraClassPath": path,
        "spark.executor.extraClassPath": path,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.sql.shuffle.partitions": str(settings.spark_cores * 2),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",
        # A speculative copy of a task would send its HTTP requests twice.
        "spark.speculation": "false",
        # Other users of the machine and other pods reach its ports: nobody is answered without the application's own
        # secret, which Spark makes, and what is sent is encrypted.
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.authEngineVersion": "2",
        "spark.network.crypto.cipher": "AES/GCM/NoPadding",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if remote:
        conf |= {
            # Delta's own store for S3 knows the writers of one JVM only: two drivers would lose commits.
            "spark.delta.logStore.s3a.impl": log_store.CLASS,
            "spark.delta.logStore.s3.impl": log_store.CLASS,
            "spark.hadoop.fs.s3a.endpoint.region": settings.s3_region,
            # The chain that Python's keys come from too: environment, web identity, profile, container, instance.
            "spark.hadoop.fs.s3a.aws.credentials.provider": log_store.KEYS,
            "spark.hadoop.fs.s3a.audit.execution.interceptors": log_store.KEYS,
            "spark.hadoop.fs.s3a.path.style.access": "true",
        }
        if settings.s3_endpoint:
            conf["spark.hadoop.fs.s3a.endpoint"] = settings.s3_endpoint
    return conf


def statement_conf(settings: Settings) -> dict[str, str]:
    """The part of `lake_conf` that a session sets on a server which others started: how rows are read and written."""
    started_with = ("spark.sql.extensions", "spark.sql.catalog.")
    return {
        name: value
        for name, value in lake_conf(settings).items()
        if name.startswith(("spark.sql.", "spark.databricks.")) and not name.startswith(started_with)
    }


def session_conf(settings: Settings | None = None) -> dict[str, str]:
    """Spark configuration of the embedded default. Holds no secret: S3 keys come from the environment.

    Inside a spark-submit driver the master is left to spark-submit. Raises ConfigError where Java or the
    jars are missing.
    """
    settings = settings or Settings()
    java()
    if not installed(settings):
        if settings.env == "production":
            raise ConfigError("the Spark jars are not in this image; build it with `asgard image`")
        log.warning("the Spark jars are not here yet: fetching them once, which takes a minute")
        fetch(settings)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = lake_conf(settings) | {
        "spark.app.name": "asgard",
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(
            filter(None, [*project.import_path(), os.environ.get("PYTHONPATH")])
        ),
    }
    if found := project.find():
        conf[f"spark.executorEnv.{project.VARIABLE}"] = str(found.folder)
    if is_remote(settings.lake_root):
        log_store.build(settings)
    if "SPARK_DRIVER_BIND_ADDRESS" in os.environ:
        # In a driver pod: addresses, memory and scratch space are what the application was submitted with.
        return conf
    scratch = settings.home.absolute() / "spark"
    scratch.mkdir(parents=True, exist_ok=True)
    conf |= {
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.local.dir": str(scratch / "local"),
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        conf["spark.master"] = f"local[{settings.spark_cores}]"
        if settings.env == "local":
            # A local run ends before the optimizing compiler pays: the first Spark write of the demo took 7.5 s
            # instead of 12. Without it the JVM reserves 48 MB for code, which Spark fills: then it only interprets.
            conf["spark.driver.extraJavaOptions"] = (
                "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
            )
    return conf


def open_session(settings: Settings | None = None) -> SparkSession:
    """The process's Spark session; the first call starts the JVM (10-20 s). Raises as `session_conf` does."""
    conf = session_conf(settings)
    from pyspark.sql import SparkSession

    return SparkSession.builder.config(map={**conf}).getOrCreate()
