"""Spark as a Dagster resource: nothing starts before a step touches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(dg.ConfigurableResource):
    """The process's one Spark session, shared by all runs in it.

    A thin shell around dagster-pyspark's LazyPySparkResource: that module imports pyspark, and neither a
    loaded code location nor the host of a launched step may.
    """

    @property
    def session(self) -> SparkSession:
        """Raises ConfigError where Java or the Spark jars are missing."""
        from dagster_pyspark import LazyPySparkResource

        from asgard_assets.spark.session import session_conf

        return LazyPySparkResource(spark_config=session_conf()).spark_session
