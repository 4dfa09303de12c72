"""Reading lake tables into Spark, and staging a Spark frame for publication."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.roots import spark_address
from asgard_assets.spark.connect.sessions import end_jobs, is_remote

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


def read(
    spark: SparkSession,
    lake: Lake,
    stage: str,
    name: str,
    days: Sequence[str] | None = None,
    schema: StructType | None = None,
    version: int | None = None,
) -> DataFrame:
    """The table as a frame, of all days or of some. Days never published are simply empty.

    The frame stays at `version`, or at that of now, however often it is evaluated and whoever publishes meanwhile.
    Where the table does not exist yet: an empty frame of `schema` if given, else SourceError.
    """
    table = lake.table(stage, name)
    if table is None:
        if schema is not None:
            return spark.createDataFrame([], schema)
        raise SourceError(
            f"{stage}/{name} does not exist yet; materialize it first "
            f"(dagster asset materialize --select {stage}/{name} --partition …)",
            source=f"{stage}/{name}",
        )
    pinned = table.version() if version is None else version
    reader = spark.read.format("delta").option("versionAsOf", pinned)
    frame = reader.load(lake.spark_path(stage, name))
    if days is None:
        return frame
    from pyspark.sql import functions as F

    return frame.where(F.col(DS).isin(list(days)))


def arrow_schema(frame: DataFrame) -> pa.Schema:
    """The frame's schema in Arrow, timestamps in microseconds UTC as the lake keeps them."""
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(frame.schema, timezone="UTC")


def write(frame: DataFrame, staging: Staging) -> None:
    """Write the frame's rows as staged Parquet files, one folder a day; about one file a task and day."""
    writer = frame.write.mode("append").option("compression", "zstd")
    if staging.partitioned:
        writer = writer.partitionBy(*staging.partition_by)
    writer.parquet(spark_address(staging.path))


def write_side_by_side(writes: Sequence[tuple[DataFrame, Staging]]) -> None:
    """`write` for each pair, at the same time: on few rows a write mostly waits for the driver.

    Where one fails, or the run is cancelled, the jobs of the others are ended.
    """
    with ThreadPoolExecutor(len(writes)) as pool:
        started = [pool.submit(write, frame, staging) for frame, staging in writes]
        try:
            for each in started:
                each.result()
        except BaseException:
            end_jobs(writes[0][0].sparkSession)
            raise


def own_session(spark: SparkSession) -> SparkSession:
    """A session whose views and settings nobody else sees. A step's session of Spark Connect is one already."""
    return spark if is_remote(spark) else spark.newSession()
