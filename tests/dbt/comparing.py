"""One project on plain dbt-duckdb and on a lake: what differs, table by table and test by test."""

from __future__ import annotations

import io
import json
import re
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import duckdb

from asgard_assets.lake import Lake, duck

PROFILES = """
plain:
  target: dev
  outputs:
    dev: {type: duckdb, path: plain.duckdb, schema: gold, threads: 1, settings: {TimeZone: UTC}}
    ci: {type: duckdb, path: plain.duckdb, schema: ci, threads: 1, settings: {TimeZone: UTC}}
delta:
  target: dev
  outputs:
    dev: {type: delta, lake: lake, schema: gold, threads: 2}
    ci: {type: delta, lake: lake, schema: ci, threads: 2}
"""
_NOW = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{4,6}")
_HASH = re.compile(r"'[0-9a-f]{32}'")
Table = tuple[list[tuple[str, str]], list[str]]


@dataclass(frozen=True)
class Ran:
    """How a command ended, by engine."""

    ok: bool
    output: str
    status: dict[str, tuple[str, int | None]]


def run(project: Path, engine: str, *args: str) -> Ran:
    """One dbt command, by the profile `plain` or `delta`; `ENGINE` in an argument is that word."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    target = project / f"target_{engine}"
    command = [arg.replace("ENGINE", engine) for arg in args]
    command += ["--project-dir", str(project), "--profiles-dir", str(project), "--profile", engine]
    command += ["--no-version-check", "--no-use-colors", "--no-send-anonymous-usage-stats"]
    command += ["--target-path", str(target), "--log-path", str(project / f"logs_{engine}")]
    (target / "run_results.json").unlink(missing_ok=True)
    out = io.StringIO()
    with chdir(project), redirect_stdout(out):
        done = dbtRunner().invoke(command)
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()
    status = {}
    if (target / "run_results.json").is_file():
        results = json.loads((target / "run_results.json").read_text())["results"]
        status = {
            r["unique_id"]: (r["status"], r.get("failures"))
            for r in results
            if not r["unique_id"].startswith("operation.dbt_delta")
        }
    return Ran(done.success, out.getvalue() + (str(done.exception) if done.exception else ""), status)


def differences(project: Path, *args: str, moments: bool = False) -> list[str]:
    """Run a command on both engines; what it answers otherwise, and which tables differ after it.

    Without `moments`, times of the run (a snapshot's) and hashes of them count as equal.
    """
    plain, delta = run(project, "plain", *args), run(project, "delta", *args)
    said = (
        [] if plain.ok == delta.ok else [f"plain ended {plain.ok}, delta {delta.ok}: {delta.output[-2000:]}"]
    )
    for unique_id in sorted({*plain.status, *delta.status}):
        one, other = plain.status.get(unique_id), delta.status.get(unique_id)
        said += [] if one == other else [f"{unique_id}: plain {one}, delta {other}"]
    left, right = in_plain(project), in_lake(project)
    for table in sorted({*left, *right}):
        one, other = left.get(table), right.get(table)
        if one is None or other is None:
            said.append(f"{table} is only in {'the lake' if one is None else 'plain'}")
        elif one[0] != other[0]:
            said.append(f"{table}: columns {one[0]} and {other[0]}")
        elif (one[1] if moments else _timeless(one[1])) != (other[1] if moments else _timeless(other[1])):
            said.append(f"{table}: rows {one[1][:20]} and {other[1][:20]}")
    return said


def in_plain(project: Path) -> dict[str, Table]:
    """Every table and view of plain dbt-duckdb's file."""
    with duckdb.connect(str(project / "plain.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_catalog not in ('system', 'temp')"
        ).fetchall()
        return {f"{schema}.{name}": _content(connection, schema, name) for schema, name in found}


def in_lake(project: Path) -> dict[str, Table]:
    """Every table of the lake and every view that is kept beside them, as dbt reads them."""
    from dbt.adapters.delta.show import as_it_was

    lake, found = Lake(str(project / "lake")), list[tuple[str, str]]()
    with duckdb.connect() as connection:
        connection.execute(f"load '{duck.extension('delta')}'")
        connection.execute("set TimeZone = 'UTC'")
        for schema, name in lake.tables():
            connection.execute(f'create schema if not exists "{schema}"')
            columns = ", ".join(as_it_was(lake.table(schema, name)))
            query = f"select {columns} from {lake.delta_scan(schema, name)}"
            connection.execute(f'create view "{schema}"."{name}" as {query}')
            found.append((schema, name))
        views = sorted(Path(lake.root).glob("*/*/_view.sql"))
        views = [
            v for v in views if (v.parent.parent.name, v.parent.name) not in found
        ]  # a clone, built since
        while views:
            later = []
            for view in views:
                schema, name = view.parent.parent.name, view.parent.name
                connection.execute(f'create schema if not exists "{schema}"')
                try:
                    connection.execute(json.loads(view.read_text())["sql"])
                except duckdb.CatalogException:
                    later.append(view)  # it reads a view that is not there yet
                else:
                    found.append((schema, name))
            assert later != views, f"views that read what is not there: {later}"
            views = later
        return {f"{schema}.{name}": _content(connection, schema, name) for schema, name in found}


def _content(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> Table:
    table = f'"{schema}"."{name}"'
    described = connection.sql(f"select * from {table} limit 0")
    columns = list(zip(described.columns, map(str, described.types), strict=True))
    texts = ", ".join(f'"{column}"::varchar' for column, _ in columns)
    return columns, sorted(map(str, connection.execute(f"select {texts} from {table}").fetchall()))


def _timeless(rows: list[str]) -> list[str]:
    return sorted(_HASH.sub("hash", _NOW.sub("now", row)) for row in rows)
