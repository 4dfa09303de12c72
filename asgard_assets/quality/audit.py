"""Audit staged files before anyone can see them: one pass of DuckDB, whichever engine wrote them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS, Lake, Staging, duck
from asgard_assets.lake.duck import Reach, only_reads
from asgard_assets.lake.sql import identifier, literally, quoted
from asgard_assets.quality.tables import Check, TableSpec


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
    figures = [
        f"(not coalesce(({c.sql}), false))::int"
        if c.aggregate
        else f"count(*) filter (where not coalesce(({c.sql}), false))"
        for c in spec.all_checks
    ]
    listed = [uri for uris in files.values() for uri in uris]
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


def _absent(names: Iterable[str], present: Set[str]) -> str:
    """Columns that the rows lack, as nulls: parts of a file without them, and a table that nothing was written to."""
    lacking = dict.fromkeys(name for name in names if name != DS and name.lower() not in present)
    return "".join(f", null as {identifier(name)}" for name in lacking)
