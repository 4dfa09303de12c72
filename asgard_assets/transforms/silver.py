"""A Silver table: one Python function, DataFrames in, typed rows and rejected rows out, its contract beside it.

    @silver(
        inputs=("bronze.invoices",),
        key=("invoice_id",),
        description="One row an invoice.",
        columns={"invoice_id": "string", "amount": "decimal(12,2)"},
    )
    def invoices(invoices: DataFrame) -> Split: ...

The function gets each input as a frame under the table's name, restricted to the run's days; a table that
keeps history gets its own rows of earlier days as `earlier`. It starts no Spark job, and reads and writes
nothing: that is why it can be tested on three rows. The decorator is plain data and registers nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS
from asgard_assets.quality.tables import Check, Column, Rebuild, TableSpec
from asgard_assets.windows import Every

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard_assets.transforms.rows import Split

# Where a Spark SQL type may begin; what stands in its brackets Spark checks.
TYPES = frozenset(
    "string varchar char boolean byte tinyint short smallint int integer long bigint float real double decimal dec "
    "numeric date timestamp timestamp_ntz timestamp_ltz binary array map struct".split()
)

Transform = Callable[..., "DataFrame | Split"]


@dataclass(frozen=True)
class Input:
    """A table that a transformation reads.

    `until` reads all days up to the run's last instead of the run's days only, for lookups such as products:
    the function must then look no further than each row's own `ds`. `at` is a column with the time of each row: of
    windows that the table's own cut in two, only the rows of its own are read.
    """

    stage: str
    name: str
    until: bool = False
    at: str = ""

    @property
    def table(self) -> str:
        return f"{self.stage}/{self.name}"


def until(table: str) -> Input:
    """All days of `table` up to the run's last: `inputs=("bronze.purchases", until("bronze.products"))`."""
    return _input(table, lookup=True)


def within(table: str, at: str) -> Input:
    """Rows of `table` whose time `at` lies in the run's windows: `within("bronze.tokyo_sales", at="sold_at")`.

    For an input whose windows are cut by the table's own, such as days of another zone.
    """
    found = _input(table)
    return Input(found.stage, found.name, at=at)


@dataclass(frozen=True)
class SilverTable:
    """What `@silver` makes of a function: still callable, and carrying its contract."""

    spec: TableSpec
    inputs: tuple[Input, ...]
    function: Transform
    history: bool
    max_rejected: float
    partitions: Mapping[str, Sequence[str] | Literal["dynamic"]] = field(
        default_factory=dict[str, "Sequence[str] | Literal['dynamic']"]
    )

    def __call__(self, **frames: DataFrame | str) -> DataFrame | Split:
        return self.function(**frames)

    @property
    def second(self) -> str:
        """The column that cuts the table beside time; '' if there is none."""
        return next(iter(self.partitions), "")

    @property
    def takes_value(self) -> bool:
        """Whether the function wants to know the value that it is called for."""
        return bool(self.second) and self.second in inspect.signature(self.function).parameters

    @property
    def ddl(self) -> str:
        """The declared columns and `ds`, as Spark's DDL."""
        return ", ".join(f"`{n}` {c.type}" for n, c in self.spec.columns.items())


def silver(
    *,
    inputs: Sequence[str | Input],
    key: Sequence[str],
    columns: Mapping[str, str | tuple[str, str]],
    description: str,
    checks: Sequence[Check] = (),
    name: str | None = None,
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    fresh_hours: float = 26,
    retries: int | None = None,
    rebuild: Rebuild = "never",
    history: bool = False,
    max_rejected: float = 0.05,
    every: Every = "day",
    time_zone: str = "",
    partitions: Mapping[str, Sequence[str] | Literal["dynamic"]] | None = None,
) -> Callable[[Transform], SilverTable]:
    """Declare the decorated function as the Silver table of the same name.

    `columns` maps each column to its SQL type, or to (type, description); `ds` is added. The function must
    return exactly these, and the run fails before it publishes where it does not. `history` is for tables
    that keep versions: days go in order, and the function takes `earlier`. A share of rejected rows above
    `max_rejected` is a warning. `rebuild`: never, or on_code_change. `every`: hour, day, week or month; inputs by the hour or day feed longer windows, and
    the function finds their rows under the names of its own. `time_zone`: that of its windows, if not the project's;
    `within` reads inputs whose windows are others. `partitions`: a second column beside time, such as
    `{"region": ["eu", "us"]}` or `{"tenant": "dynamic"}`; then the function is called for each value, with the rows of
    that value of inputs that have the same column. A parameter of this name is the value; the column is added.

    Raises ConfigError where the function's parameters are not its inputs, a type is none of Spark's, or the key is
    no column.
    """
    read = tuple(entry if isinstance(entry, Input) else _input(entry) for entry in inputs)

    def declare(function: Transform) -> SilverTable:
        table = name or getattr(function, "__name__", "")
        described = {n: Column(type=c) if isinstance(c, str) else _column(*c) for n, c in columns.items()}
        second = next(iter(partitions or {}), "")
        if second:
            described.setdefault(second, Column(type="string", description="Cuts the table, beside time."))
        described[DS] = Column(type="string", description="Day that was asked for (UTC).")
        _refuse_parameters(
            table, function, {entry.name for entry in read} | ({"earlier"} if history else set()), second
        )
        _refuse_columns(table, described, key)
        return SilverTable(
            spec=TableSpec(
                stage="silver",
                name=table,
                description=description,
                key=tuple(key),
                columns=described,
                checks=tuple(checks),
                owners=tuple(owners),
                tags=dict(tags or {}),
                kinds=("spark", "delta"),
                fresh_hours=fresh_hours,
                retries=retries,
                rebuild=rebuild,
                every=every,
                time_zone=time_zone,
            ),
            inputs=read,
            function=function,
            history=history,
            max_rejected=max_rejected,
            partitions=dict(partitions or {}),
        )

    return declare


def _refuse_parameters(table: str, function: Transform, inputs: set[str], second: str = "") -> None:
    taken = set(inspect.signature(function).parameters) - ({second} - inputs)
    if inputs != taken:
        raise ConfigError(
            f"silver/{table}: the function takes ({', '.join(sorted(taken))}), but its inputs are "
            f"({', '.join(sorted(inputs))}); name its parameters like its inputs"
        )


def _refuse_columns(table: str, columns: Mapping[str, Column], key: Sequence[str]) -> None:
    for name, column in columns.items():
        if re.split(r"[\s(<]", column.type.lower())[0] not in TYPES:
            raise ConfigError(
                f"silver/{table}: column {name} has the type {column.type!r}, which is none of Spark "
                "SQL's: string, int, bigint, double, decimal(12,2), boolean, date, timestamp …"
            )
    if strange := [column for column in key if column not in columns]:
        raise ConfigError(f"silver/{table}: the key {', '.join(strange)} is none of its columns")


def _column(kind: str, description: str) -> Column:
    return Column(type=kind, description=description)


def _input(table: str, lookup: bool = False) -> Input:
    stage, dot, name = table.partition(".")
    if not (stage and dot and name):
        raise ConfigError(f"a Silver input is named stage.table, for example bronze.usage; got {table!r}")
    return Input(stage, name, lookup)


def conforms(table: SilverTable, frame: DataFrame) -> DataFrame:
    """The frame's declared columns in their declared order. Raises ConfigError where one differs."""
    from pyspark.sql.types import StructType

    declared = {f.name: f.dataType.simpleString() for f in cast(StructType, StructType.fromDDL(table.ddl))}
    found: dict[str, Any] = {f.name: f.dataType.simpleString() for f in frame.schema}
    wrong = [f"{n} is missing" for n in declared if n not in found]
    wrong += [f"{n} is not declared" for n in found if n not in declared]
    wrong += [
        f"{n} is {found[n]}, declared {kind}"
        for n, kind in declared.items()
        if n in found and found[n] != kind
    ]
    if wrong:
        raise ConfigError(f"silver/{table.spec.name}: the function's columns differ: {'; '.join(wrong)}")
    return frame.select(*declared)
