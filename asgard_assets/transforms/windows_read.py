"""Which windows of an input a run reads: the hours of its days, the days of its weeks and months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS
from asgard_assets.windows import FEEDS, Calendar

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class WindowsRead:
    """A table's windows and those of one of its inputs. Raises ConfigError where whole ones do not make up the table's.

    Both are of one zone: then the day that an hour lies in is the first part of its name.
    """

    table: str
    calendar: Calendar
    source: Calendar

    def __post_init__(self) -> None:
        if self.calendar.every not in FEEDS[self.source.every]:
            raise ConfigError(
                f"{self.table} has a partition every {self.calendar.every}, and an input every {self.source.every}: hours "
                "feed days, days feed weeks and months. Choose another `every` for one of the two"
            )

    @property
    def same(self) -> bool:
        return self.calendar.every == self.source.every

    def keys(self, keys: Sequence[str], now: datetime | None = None) -> list[str]:
        """The input's windows within these of the table, those that have not begun left out."""
        if self.same:
            return list(keys)
        now = now or datetime.now(UTC)
        windows = [self.calendar.window(key) for key in keys]
        inside = [each for window in windows for each in self.source.overlapping(window.start, window.end)]
        return [window.key for window in inside if window.start <= now]

    def needed(self, keys: Sequence[str], now: datetime | None = None) -> list[str]:
        """Those of `keys` that must be there: what is open may still come."""
        now = now or datetime.now(UTC)
        found = self.keys(keys, now)
        return found if self.same else [key for key in found if not self.source.window(key).is_open(now)]

    def name(self, key: str) -> str:
        """The table's window that a window of the input lies in."""
        return key if self.same else self.calendar.key_at(self.source.window(key).start)

    def renamed(self, frame: DataFrame) -> DataFrame:
        """The input's rows under the names of the table's windows."""
        return frame if self.same else frame.withColumn(DS, self._named())

    def _named(self) -> Column:
        from pyspark.sql import functions as F

        day = F.substring(DS, 1, 10)
        if self.calendar.every == "day":
            return day
        return F.date_format(F.date_trunc(self.calendar.every, F.to_date(day)), "yyyy-MM-dd")
