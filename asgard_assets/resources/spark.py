"""Spark as a Dagster resource: nothing starts before a step touches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from asgard_assets.resources.connect.lease import Borrower, Lease

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(dg.ConfigurableResource, Borrower):
    """The process's one Spark session, shared by all runs in it; or the one that the launcher of Spark Connect lends.

    A thin shell around dagster-pyspark's LazyPySparkResource: that module imports pyspark, and neither a
    loaded code location nor the host of a launched step may.
    """

    _lease: Lease | None = PrivateAttr(default=None)

    def lend(self, lease: Lease | None) -> None:
        """From now on the step works on this lease's session; None: on the process's own."""
        self._lease = lease

    @property
    def session(self) -> SparkSession:
        """Raises ConfigError where Java or the Spark jars are missing, and what `Lease.session` raises."""
        if self._lease is not None:
            return self._lease.session
        from dagster_pyspark import LazyPySparkResource

        from asgard_assets.spark.session import session_conf

        return LazyPySparkResource(spark_config=session_conf()).spark_session
