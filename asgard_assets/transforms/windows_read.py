"""Which windows of an input a run reads: the hours of its days, the days of its weeks and months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS
from asgard_assets.windows import FEEDS, Calendar, Window

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class WindowsRead:
    """A table's windows and those of one of its inputs. Raises ConfigError where whole ones do not make up the table's.

    `at` is the column that says when a row happened: then windows of the input may be cut by those of the table, as days
    of two zones cut each other.
    """

    table: str
    calendar: Calendar
    source: Calendar
    at: str = ""
    lookup: bool = False
    """All windows are read that are over when the table's last one is."""

    def __post_init__(self) -> None:
        if self.calendar.every not in FEEDS[self.source.every]:
            raise ConfigError(
                f"{self.table} has a partition every {self.calendar.every}, and an input every {self.source.every}: hours "
                "feed days, days feed weeks and months. Choose another `every` for one of the two"
            )
        if not (self.one_zone or self.at or self.lookup or self.source.every == "hour"):
            raise ConfigError(self._cut())

    @property
    def one_zone(self) -> bool:
        return str(self.calendar.zone) == str(self.source.zone)

    @property
    def same(self) -> bool:
        return self.one_zone and self.calendar.every == self.source.every

    def keys(self, keys: Sequence[str], now: datetime | None = None) -> list[str]:
        """The input's windows that share time with these of the table, those that have not begun left out.

        Raises ConfigError where one of them is cut in two, and no column says when a row happened.
        """
        if self.same:
            return list(keys)
        now, found = now or datetime.now(UTC), dict[str, None]()
        for window in map(self.calendar.window, keys):
            for each in self.source.overlapping(window.start, window.end):
                if not self.at and (each.start < window.start or each.end > window.end):
                    raise ConfigError(self._cut())
                if each.start <= now:
                    found[each.key] = None
        return list(found)

    def needed(self, keys: Sequence[str], now: datetime | None = None) -> list[str]:
        """Those of `keys` that must be there: what is open may still come."""
        now = now or datetime.now(UTC)
        found = self.keys(keys, now)
        return found if self.same else [key for key in found if not self.source.window(key).is_open(now)]

    def until(self, keys: Sequence[str]) -> str:
        """The input's last window that is over when the last of these is."""
        last = max(keys)
        if self.same:
            return last
        return self.source.after(self.source.key_at(self.calendar.window(last).end), -1)

    def name(self, key: str) -> str:
        """The table's window in which a window of the input begins; in which it ends, of a lookup: then it is known."""
        if self.same:
            return key
        window = self.source.window(key)
        return self.calendar.key_at(window.end - _INSTANT if self.lookup else window.start)

    def renamed(self, frame: DataFrame, keys: Sequence[str] | None = None) -> DataFrame:
        """The input's rows under the names of the table's windows; with `at`, the rows of these windows (`keys`) alone."""
        if self.at and keys and not self.lookup:
            return self._cut_at(frame, [self.calendar.window(key) for key in keys])
        if self.same:
            return frame
        if self.one_zone or not keys:
            return frame.withColumn(DS, self._named())
        from pyspark.sql import functions as F

        read = (
            self.source.keys(self.source.window(self.until(keys)).start) if self.lookup else self.keys(keys)
        )
        named = [(key, self.name(key)) for key in read]
        if not named:
            return frame.limit(0)
        names = frame.sparkSession.createDataFrame(named, f"{DS} string, _named string")
        found = frame.join(F.broadcast(names), DS).withColumn(DS, F.col("_named"))
        return found.select(*frame.columns)

    def _named(self) -> Column:
        """In one zone the day that an hour lies in is the first part of its name."""
        from pyspark.sql import functions as F

        day = F.substring(DS, 1, 10)
        if self.calendar.every == "day":
            return day
        return F.date_format(F.date_trunc(self.calendar.every, F.to_date(day)), "yyyy-MM-dd")

    def _cut_at(self, frame: DataFrame, windows: Sequence[Window]) -> DataFrame:
        """Rows whose time lies in a window, under its name. A row without a time stays where its input has it.

        The instants are the calendar's: Spark's own time zones may be of another year.
        """
        from pyspark.sql import functions as F

        if self.at not in frame.columns:
            raise ConfigError(
                f"{self.table}: an input has no column {self.at!r}, which is to say when a row happened"
            )
        moment, named = F.col(self.at).cast("timestamp"), F.lit(None).cast("string")
        for window in windows:
            inside = (moment >= F.lit(window.start)) & (moment < F.lit(window.end))
            named = F.when(inside, F.lit(window.key)).otherwise(named)
        own = {window.key for window in windows}
        begins = [(key, self.name(key)) for key in self.keys([w.key for w in windows])]
        without = F.lit(None).cast("string")
        for key, name in begins:
            if name in own:
                without = F.when(F.col(DS) == key, F.lit(name)).otherwise(without)
        return frame.withColumn(DS, F.when(moment.isNull(), without).otherwise(named)).where(
            F.col(DS).isNotNull()
        )

    def _cut(self) -> str:
        return (
            f"{self.table} has a partition every {self.calendar.every} in {self.calendar.zone}, and an input every "
            f"{self.source.every} in {self.source.zone}, which these cut in two. Say which column has the time of a row, "
            'such as inputs=(within("bronze.sales", at="sold_at"),), or choose one time_zone for both'
        )
