"""Audit staged files before anyone can see them: one pass of DuckDB, whichever engine wrote them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS, Lake, Staging, duck
from asgard_assets.lake.duck import Reach, only_reads
from asgard_assets.lake.sql import identifier, literally, quoted
from asgard_assets.quality.tables import KEY_IS_UNIQUE, Check, TableSpec

_MANY_ROWS = 200_000  # of fewer, the distinct values are counted


@dataclass(frozen=True)
class Audit:
    """Rows of each day, and for each check the number of rows (or 1 for a figure) that break it, by day."""

    table: str
    rows: Mapping[str, int]
    broken: Mapping[str, Mapping[str, int]]
    checks: tuple[Check, ...]

    @property
    def bad_days(self) -> dict[str, list[str]]:
        """Days that must not be published, with the checks that say so."""
        bad: dict[str, list[str]] = {}
        for check in self.checks:
            if check.severity != "error":
                continue
            for day, count in self.broken[check.name].items():
                if count:
                    bad.setdefault(day, []).append(check.name)
        return dict(sorted(bad.items()))

    def failing(self, check: Check) -> dict[str, int]:
        """Days on which `check` is broken, with the count."""
        return {day: count for day, count in sorted(self.broken[check.name].items()) if count}


def audit(lake: Lake, staging: Staging, spec: TableSpec) -> Audit:
    """Check every staged day. Raises ConfigError where a check's SQL does not fit the table."""
    import duckdb
    import pyarrow.parquet as pq

    files = lake.staged_files(staging)
    rows = dict.fromkeys(files, 0)
    broken = {check.name: dict.fromkeys(files, 0) for check in spec.all_checks}
    listed = [uri for uris in files.values() for uri in uris]
    rises = len(files) == 1 and len(spec.key) == 1 and _rises(lake, listed, spec.key[0])
    figures = [
        "0"
        if rises and c.name == KEY_IS_UNIQUE
        else f"(not coalesce(({c.sql}), false))::int"
        if c.aggregate
        else f"count(*) filter (where not coalesce(({c.sql}), false))"
        for c in spec.all_checks
    ]
    with (
        tempfile.TemporaryDirectory(prefix="asgard-audit-") as scratch,
        duck.connect(Reach((lake,), (scratch,))) as connection,
    ):
        # To group by one value takes as long as to count the keys.
        alone = next(iter(files)) if len(files) == 1 else None
        key = f'"{DS}"' + (f" || '|' || {identifier(staging.dimension)}" if staging.dimension else "")
        day, grouped = (key, " group by 1") if alone is None else (quoted(alone), "")
        # As a file: to register an Arrow table, DuckDB imports all of pyarrow (0.2 s).
        empty = f"{scratch}/no_rows.parquet"
        pq.write_table(staging.schema.empty_table(), empty)
        connection.execute(f"create view no_rows as from read_parquet({quoted(literally(empty))})")
        source = "no_rows"
        if listed:
            kinds = ", ".join(f"{quoted(name)}: VARCHAR" for name in staging.partition_by)
            hive = f"true, hive_types={{{kinds}}}" if staging.partitioned else "false"
            source = (
                f"read_parquet([{', '.join(quoted(literally(uri)) for uri in listed)}], union_by_name=true, "
                f"hive_partitioning={hive})"
            )
        present = {
            row[0].lower() for row in connection.execute(f"describe select * from {source}").fetchall()
        }
        absent = _absent([*staging.schema.names, *spec.key], present)
        query = f"select {day}, count(*), {', '.join(figures)} from (select *{absent} from {source}){grouped}"
        nothing = ", ".join(
            f"(not coalesce(({c.sql}), true))::int" if c.aggregate else "0" for c in spec.all_checks
        )
        known = {name.lower() for name in staging.schema.names}
        try:
            only_reads(connection, query)
            found = [row for row in connection.execute(query).fetchall() if row[1]]
            of_empty = connection.execute(
                f"select {nothing} from (select *{_absent(spec.key, known)} from no_rows)"
            ).fetchall()
        except duckdb.BinderException as error:
            raise ConfigError(f"{staging.table}: a check does not fit the table: {error}") from error
    told = {day_value for day_value, *_ in found}
    # A day without rows is judged by figures that say something of nothing, such as `count(*) > 0`.
    found += [(day_value, 0, *of_empty[0]) for day_value in files if day_value not in told]
    for day_value, count, *values in found:
        rows[day_value] = count
        for check, value in zip(spec.all_checks, values, strict=True):
            broken[check.name][day_value] = value
    return Audit(staging.table, rows, broken, spec.all_checks)


def _rises(lake: Lake, files: Sequence[str], column: str) -> bool:
    """Whether a column rises from row to row in each file, and no two files overlap: then no value is there twice, and
    none is null. That takes no memory; to count the distinct values holds all of them. Of few rows: no.
    """
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet as pq

    pc: Any = pyarrow.compute  # its functions are made at run time
    firsts: list[pa.Array] = []
    lasts: list[pa.Array] = []
    try:
        for path in files:
            with pq.ParquetFile(path, filesystem=lake.filesystem) as file:
                if file.metadata.num_rows * len(files) < _MANY_ROWS or column not in file.schema_arrow.names:
                    return False
                before = None
                for batch in file.iter_batches(columns=[column]):
                    values = batch.column(0)
                    row = values if before is None else pa.concat_arrays([before, values])
                    if values.null_count or not pc.all(pc.less(row[:-1], row[1:]), min_count=0).as_py():
                        return False
                    if before is None:
                        firsts.append(values[:1])
                    before = values[-1:]
                if before is not None:
                    lasts.append(before)
        first, last = pa.concat_arrays(firsts), pa.concat_arrays(lasts)
        order = pc.sort_indices(first)
        return pc.all(pc.less(last.take(order)[:-1], first.take(order)[1:]), min_count=0).as_py()
    except pa.ArrowException:  # values that Arrow has no order for
        return False


def _absent(names: Iterable[str], present: Set[str]) -> str:
    """Columns that the rows lack, as nulls: parts of a file without them, and a table that nothing was written to."""
    lacking = dict.fromkeys(name for name in names if name != DS and name.lower() not in present)
    return "".join(f", null as {identifier(name)}" for name in lacking)
