"""A Spark driver that writes and reads while its keys run out: `python -m tests.spark.key_user ROUNDS SECONDS`."""

from __future__ import annotations

import sys
import time

from asgard_assets.lake import Lake
from asgard_assets.settings import Settings


def main(rounds: int, seconds: float) -> None:
    from asgard_assets.spark.session import open_session

    settings = Settings()
    spark = open_session(settings)
    path = Lake.from_settings(settings).spark_path("bronze", "keys")
    for number in range(rounds):
        spark.range(number * 10, number * 10 + 10, 1, 2).write.format("delta").mode("append").save(path)
        assert spark.read.format("delta").load(path).count() == number * 10 + 10
        time.sleep(seconds)
    spark.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
