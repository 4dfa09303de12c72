"""A table made from a seed, with any mix of types, and what happens to it: each change is one that a lake knows."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import maintain

DAYS = ("2026-10-05", "2026-10-06", "2026-10-07", "2026-10-08")
CHANGES = ("replace", "amend", "schema change", "compaction", "vacuum", "restore")
_TYPES: tuple[pa.DataType, ...] = (
    pa.string(), pa.int64(), pa.int32(), pa.int16(), pa.int8(), pa.float64(), pa.float32(), pa.bool_(), pa.date32(),
    pa.timestamp("us", "UTC"), pa.binary(), pa.decimal128(38, 9), pa.decimal128(9, 2), pa.list_(pa.string()),
    pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string()), ("d", pa.decimal128(20, 0))])))]),
    pa.map_(pa.string(), pa.int64()), pa.list_(pa.list_(pa.int32())),
)  # fmt: skip
_NAMES = ("name", "UPPER", "Größe", "select", "a_b", "x1", "日", "amount", "Group", "value")
_TEXTS = ("", "Zoë", "it's", "a\nb", '"q"', "\\", "日本", "null", "%", "2026-10-05")


@dataclass
class Generated:
    """A table of a lake. The same seed gives the same table and the same changes."""

    lake: Lake
    seed: int
    columns: dict[str, pa.DataType] = field(default_factory=dict[str, pa.DataType])

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.partitioned = self.seed % 4 != 3
        names = self.dice.sample(_NAMES, self.dice.randint(3, 8))
        self.columns = {"id": pa.int64()} | {name: self.dice.choice(_TYPES) for name in names}
        self._number = 0

    @property
    def name(self) -> str:
        return f"generated_{self.seed:02}"

    @property
    def table(self) -> str:
        return f"gold/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*self.columns.items(), *([("ds", pa.string())] if self.partitioned else [])])

    def begin(self) -> None:
        self._publish(DAYS[:3])

    def change(self, what: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "replace": lambda: self._publish(self.dice.sample(DAYS, self.dice.randint(1, 3))),
            "amend": self._amend,
            "schema change": self._new_schema,
            "compaction": self._compact,
            "vacuum": self._vacuum,
            "restore": self._restore,
        }
        steps[what]()

    def _rows(self, days: tuple[str, ...] | list[str]) -> pa.Table:
        rows = list[dict[str, Any]]()
        for day in days if self.partitioned else ("",):
            for _ in range(self.dice.choice((0, 1, 3, 8))):
                self._number += 1
                values = {name: self._value(kind) for name, kind in self.columns.items()}
                rows.append(values | {"id": self._number} | ({"ds": day} if self.partitioned else {}))
        return pa.Table.from_pylist(rows, self.schema)

    def _value(self, kind: pa.DataType) -> Any:
        dice = self.dice
        if dice.random() < 0.25:
            return None
        if pa.types.is_struct(kind):
            return {each.name: self._value(each.type) for each in kind}
        if pa.types.is_list(kind):
            return [self._value(kind.value_type) for _ in range(dice.randint(0, 3))]
        if pa.types.is_map(kind):
            return [(key, self._value(kind.item_type)) for key in dice.sample(_TEXTS, dice.randint(0, 3))]
        if pa.types.is_integer(kind):
            most = 2 ** (kind.bit_width - 1) - 1
            return dice.choice((0, most, -most - 1, dice.randint(-most, most)))
        if pa.types.is_decimal(kind):
            whole = dice.randint(-(10**kind.precision) + 1, 10**kind.precision - 1)
            return Decimal(whole).scaleb(-kind.scale, _wide())
        if pa.types.is_floating(kind):
            return dice.choice((0.0, 0.1, -1.5e30, 3.0, dice.random()))
        if pa.types.is_boolean(kind):
            return dice.random() < 0.5
        if pa.types.is_date(kind):
            return dt.date(1900, 1, 1) + dt.timedelta(dice.randint(0, 100_000))
        if pa.types.is_timestamp(kind):
            zone = dt.timezone(dt.timedelta(hours=dice.choice((-8, 0, 2, 5))))
            return dt.datetime(1900, 1, 2, tzinfo=zone) + dt.timedelta(
                microseconds=dice.randint(0, 9 * 10**15)
            )
        return dice.randbytes(3) if pa.types.is_binary(kind) else dice.choice(_TEXTS)

    def _publish(self, days: tuple[str, ...] | list[str], replace_schema: bool = False) -> None:
        staging = self.lake.stage("gold", self.name, self.schema, list(days) if self.partitioned else [])
        self.lake.write(staging, self._rows(days))
        self.lake.publish(staging, replace_schema=replace_schema)

    def _amend(self) -> None:
        """More rows for a day and a file less; a whole table has no amendments, there another writer appends."""
        if not self.partitioned:
            write_deltalake(self._delta(), self._rows(()), mode="append")
            return
        day = self.dice.choice(DAYS)
        staging = self.lake.stage("gold", self.name, self.schema, [day])
        self.lake.write(staging, self._rows([day]))
        live = sorted(part.path for part in self.lake.live("gold", self.name))
        gone = {path: [] for path in self.dice.sample(live, min(1, len(live)))}
        self.lake.amend(staging, lambda _: gone, {})

    def _new_schema(self) -> None:
        """A column more; or a wider type, with every row written anew."""
        small = next((name for name, kind in self.columns.items() if kind == pa.int32()), None)
        if small and self.seed % 2:
            self.columns[small] = pa.int64()
            self.lake.retype("gold", self.name, self._widened, _cast)
            return
        self.columns["added"] = self.dice.choice(_TYPES)
        self._publish([self.dice.choice(DAYS)])

    def _widened(self, present: pa.Schema) -> pa.Schema:
        return pa.schema([pa.field(each.name, self.columns.get(each.name, each.type)) for each in present])

    def _compact(self) -> None:
        write_deltalake(self._delta(), self._rows(DAYS[:2]), mode="append")
        write_deltalake(self._delta(), self._rows(DAYS[:2]), mode="append")
        maintain(self.lake, [self.table], min_files=2)

    def _vacuum(self) -> None:
        self._delta().vacuum(0, dry_run=False, enforce_retention_duration=False)

    def _restore(self) -> None:
        version = self.lake.version("gold", self.name)
        self._publish(DAYS)
        self.lake.restore("gold", self.name, version)

    def _delta(self) -> Any:
        found = self.lake.table("gold", self.name)
        assert found is not None
        return found


def _cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns that a file has; ds lies in its path."""
    return rows.cast(pa.schema([schema.field(name) for name in rows.column_names]))


def _wide() -> Any:
    from decimal import Context

    return Context(prec=60)
