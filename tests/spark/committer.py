"""One writer of the commit race: `python -m tests.spark.committer NUMBER COMMITS GATE`; starts when GATE is there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from asgard_assets.lake import Lake

NAME = "race"


def main(number: int, commits: int, gate: Path) -> None:
    lake = Lake.from_settings()
    if number == 0:
        import pyarrow as pa

        while not gate.exists():
            time.sleep(0.1)
        for commit in range(commits):  # a day each: published, as every table is
            day = (
                f"2026-{10 + commit // 28:02}-{commit % 28 + 1:02}"
                if commits <= 56
                else f"{2000 + commit}-01-01"
            )
            rows = pa.table({"id": pa.array([commit], pa.int64()), "ds": [day]})
            staging = lake.stage("bronze", NAME, rows.schema, [day])
            lake.write(staging, rows)
            lake.publish(staging)
        return
    from asgard_assets.spark.session import open_session

    spark = open_session()
    path = lake.spark_path("bronze", NAME)
    spark.range(1).count()
    gate.with_name(f"ready-{number}").touch()
    while not gate.exists():
        time.sleep(0.1)
    for commit in range(commits):
        frame = spark.range(number * 100_000 + commit, number * 100_000 + commit + 1, 1, 1)
        frame.selectExpr("id", f"'1999-01-0{number}' as ds").write.format("delta").mode("append").save(path)
    spark.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
