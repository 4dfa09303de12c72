"""From source text to typed rows: every row that goes in comes out once, typed or rejected with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

RECORD, REASON, PROBLEM = "record", "reason", "_problem"

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_WHOLE = r"^\s*[-+]?\d+\s*$"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}.*$"
# Spark casts '2026' to a timestamp, '12:30' to today's, '12d' and 'nan' to doubles: a source never means it.
_KINDS = {
    "bigint": ("a whole number", _WHOLE),
    "int": ("a whole number", _WHOLE),
    "double": ("a number", _NUMBER),
    "decimal": ("a number", _NUMBER),
    "date": ("a date", _DATE),
    "timestamp": ("a time", _DATE),
    "boolean": ("true or false", r"(?i)^\s*(true|false|1|0)\s*$"),
}

Rule = tuple[str, "str | Column"]


@dataclass(frozen=True)
class Split:
    """Rows that hold (typed, with their `record`), and rows that do not: record (JSON), reason, ds."""

    valid: DataFrame
    rejected: DataFrame

    def __iter__(self) -> Iterator[DataFrame]:
        yield self.valid
        yield self.rejected

    def select(self, *expressions: str) -> Split:
        """Name the valid rows' columns in SQL (`id as order_id`); `ds` is kept."""
        return Split(self.valid.selectExpr(*expressions, DS), self.rejected)

    def and_rejected(self, more: DataFrame) -> Split:
        """The same valid rows, with further rejected ones."""
        return Split(self.valid, self.rejected.unionByName(more))


def parsed(frame: DataFrame, column: str, fields: Sequence[str]) -> DataFrame:
    """Read the JSON object in `column` into one text column a field.

    As text, so that a value of the wrong type is seen by `typed` and not lost: JSON read with types turns it
    into null. Fields that the object lacks are null; other columns of the same names are replaced.
    """
    from pyspark.sql import functions as F

    schema = ", ".join(f"`{field}` string" for field in fields)
    body = F.from_json(F.col(column), schema)
    return frame.withColumns({field: body.getField(field) for field in fields})


def typed(frame: DataFrame, columns: dict[str, str], record: Sequence[str] = ()) -> DataFrame:
    """Cast text columns to the given SQL types, and remember which value did not parse.

    Returns those columns, `ds`, the source row as JSON in `record` (all its columns, or those named), and a
    problem such as `amount is not a number: 12,5O` for `split`. A column that the frame lacks is null: a
    source may add it on a later day. Empty text is null.
    """
    from pyspark.sql import functions as F

    seen = [c for c in (record or frame.columns) if c != DS and c in frame.columns]
    values: list[Column] = []
    problems: list[Column] = []
    for name, kind in columns.items():
        if name not in frame.columns:
            values.append(F.lit(None).cast(kind).alias(name))
            continue
        text = F.trim(F.col(name).cast("string"))
        text = F.when(text != "", text)
        if kind == "string":
            values.append(text.alias(name))
            continue
        word, pattern = _kind(name, kind)
        value = F.when(text.rlike(pattern), text).try_cast(kind)
        values.append(value.alias(name))
        problems.append(
            F.when(text.isNotNull() & value.isNull(), F.concat(F.lit(f"{name} is not {word}: "), text))
        )
    problem = F.coalesce(*problems) if problems else F.lit(None).cast("string")
    return frame.select(*values, F.col(DS), F.to_json(F.struct(*seen)).alias(RECORD), problem.alias(PROBLEM))


def missing(*columns: str) -> list[Rule]:
    """Rules that reject a row in which one of the columns is null: `user_id is missing`."""
    return [(f"{column} is missing", f"`{column}` is null") for column in columns]


def split(
    frame: DataFrame,
    rules: Sequence[Rule] = (),
    key: Sequence[str] = (),
    order: Sequence[str] = (),
) -> Split:
    """Part a `typed` frame: a row is rejected for the first of what follows that is true, else it is valid.

    A value did not parse; a rule's condition (SQL or Column) holds; a valid row with the same `key` and `ds`
    comes before it by `order` (columns; `updated_at desc` for the newest; ties go by the source row itself, so
    that a rerun keeps the same one): reason `duplicate`.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    def condition(rule: str | Column) -> Column:
        return F.expr(rule) if isinstance(rule, str) else rule

    reasons = [F.col(PROBLEM), *(F.when(condition(rule), F.lit(reason)) for reason, rule in rules)]
    reason = F.coalesce(*reasons)
    tagged = frame.withColumn(REASON, reason)
    if key:
        # One window over all rows; rejected ones rank last, so that they take nobody's place.
        ranked = Window.partitionBy(DS, *key).orderBy(
            F.col(REASON).isNotNull(), *(_sorted(entry) for entry in order), RECORD
        )
        again = F.when(F.row_number().over(ranked) > 1, F.lit("duplicate"))
        tagged = tagged.withColumn(REASON, F.coalesce(REASON, again))
    good = tagged.where(F.col(REASON).isNull()).drop(REASON, PROBLEM)
    return Split(good, tagged.where(F.col(REASON).isNotNull()).select(RECORD, REASON, DS))


def _kind(name: str, kind: str) -> tuple[str, str]:
    base = kind.partition("(")[0]
    if base not in _KINDS:
        raise ConfigError(f"column {name}: type {kind} is not one of string, {', '.join(_KINDS)}")
    return _KINDS[base]


def _sorted(entry: str) -> Column:
    from pyspark.sql import functions as F

    column, _, direction = entry.partition(" ")
    return F.col(column).desc_nulls_last() if direction == "desc" else F.col(column).asc_nulls_last()
