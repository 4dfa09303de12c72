"""A second column beside time: which slices of its inputs a slice of a table reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asgard_assets.windows import slice_of, value_of, window_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Slices:
    """`column` cuts the table itself, '' if only time does. `inputs` are the columns and known values of inputs that are
    cut by one, by stage/table; no values where they are added while the platform runs.
    """

    column: str = ""
    inputs: Mapping[str, tuple[str, tuple[str, ...]]] = field(
        default_factory=dict[str, tuple[str, tuple[str, ...]]]
    )

    def alike(self, table: str) -> bool:
        """Whether the input is cut by the same column: then a slice reads its own value."""
        return bool(self.column) and self.inputs.get(table, ("",))[0] == self.column

    def absent(self, table: str, windows: Sequence[str], value: str, published: Iterable[str]) -> list[str]:
        """The partitions of the input that these windows of the value need, and that are not among the published."""
        there = set(published)
        if table not in self.inputs:
            return [window for window in windows if window not in there]
        values = (value,) if self.alike(table) else self.inputs[table][1]
        if not values:
            some = {window_of(key) for key in there}
            return [window for window in windows if window not in some]
        wanted = [slice_of(window, each) for window in windows for each in values]
        return [key for key in wanted if key not in there]

    def own(self, table: str, frame: DataFrame, value: str) -> DataFrame:
        """The input's rows of the value, without the column; all of them if the input is not cut by it."""
        if not self.alike(table):
            return frame
        return frame.where(frame[self.column] == value).drop(self.column)

    def named(self, frame: DataFrame, value: str) -> DataFrame:
        """The frame with the column, which is its last but for one that the function made itself."""
        if not self.column:
            return frame
        from pyspark.sql import functions as F

        return frame.withColumn(self.column, F.lit(value))

    def rows_read(
        self, table: str, keys: Iterable[str], counts: Mapping[tuple[str, str], int]
    ) -> dict[str, int]:
        """Rows of the input that each of the table's partitions read, from its rows by window and value."""
        by_window = dict[str, int]()
        for (window, _), rows in counts.items():
            by_window[window] = by_window.get(window, 0) + rows
        alike = self.alike(table)
        return {
            key: counts.get((window_of(key), value_of(key)), 0) if alike else by_window.get(window_of(key), 0)
            for key in keys
        }
