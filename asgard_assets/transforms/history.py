"""Insert-only history: one row a version, valid from its day until the next version of the same key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asgard_assets.lake import DS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VALID_FROM, CHANGE_HASH = "valid_from", "change_hash"


def latest(earlier: DataFrame, key: str) -> DataFrame:
    """Each key's newest version among `earlier`."""
    from pyspark.sql import functions as F

    columns = [c for c in earlier.columns if c != key]
    newest = F.max_by(F.struct(*columns), DS).alias("newest")
    return earlier.groupBy(key).agg(newest).select(key, "newest.*")


def spans(frame: DataFrame, key: str) -> DataFrame:
    """Rows of a lookup with the day on which the next row of the same key takes over, `next_ds`.

    Join with `a.ds >= b.ds and (b.next_ds is null or a.ds < b.next_ds)` to see what was known on each day.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    return frame.withColumn("next_ds", F.lead(DS).over(Window.partitionBy(key).orderBy(DS)))


def versions(states: DataFrame, key: str, tracked: Sequence[str]) -> DataFrame:
    """Of the states of each key, one a day, those that differ from the one before, with its hash and day.

    `states` holds the run's days and, for what was known before them, each key's latest version (marked by a
    true `known`), which is compared with and never written again. A range of days is one pass: nothing reads
    what an earlier day of the same range wrote.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    hashed = states.withColumn(CHANGE_HASH, F.sha2(F.to_json(F.struct(*tracked)), 256))
    before = F.lag(CHANGE_HASH).over(Window.partitionBy(key).orderBy(DS))
    changed = hashed.withColumn("_before", before).where(
        ~F.col("known") & ~F.col(CHANGE_HASH).eqNullSafe(F.col("_before"))
    )
    return changed.withColumn(VALID_FROM, F.to_date(DS)).drop("known", "_before")
