"""Starts the Spark Connect server of a pod: `python -m asgard_assets.spark.connect.pod OPTIONS`, with spark-submit's options."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from asgard_assets.settings import Settings
from asgard_assets.spark.connect.server import SERVER
from asgard_assets.spark.session import lake_conf
from asgard_assets.spark.submit import spark_home


def command(options: Sequence[str], settings: Settings) -> list[str]:
    """spark-submit of the server, with what the lake needs; what `options` say comes later, and wins."""
    conf = lake_conf(settings) | {
        "spark.scheduler.mode": "FAIR",
        "spark.connect.execute.manager.detachedTimeout": "60s",
    }
    own = [part for key in sorted(conf) for part in ("--conf", f"{key}={conf[key]}")]
    return [str(spark_home() / "bin" / "spark-submit"), *own, *options, "--class", SERVER, "spark-internal"]


if __name__ == "__main__":
    line = command(sys.argv[1:], Settings())
    os.execv(line[0], line)  # noqa: S606
