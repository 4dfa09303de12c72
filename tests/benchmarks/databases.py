"""What a table of Postgres costs to load, side by side with dlt's sql_database source on the same server.

    python -m tests.benchmarks.databases --rows 1000000

Both write a Delta table. Asgard's side loads, checks and publishes as its asset does; dlt uses its cheapest way to Delta.
dlt is installed by `dlt_sql.lock` into an environment of its own, once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.small_jobs import bar, in_a_home, say
from tests.servers.foreign import python_server
from tests.servers.postgres import Postgres, postgres

CPU, MEMORY = 0.5, 1.3
ORDERS = """create table orders as select i::bigint as id, (i % 5000)::int as customer, (i * 1.37)::numeric(12,2) as amount,
    'note number ' || i as note, timestamptz '2024-01-01' + i * interval '17.123456 s' as at, i % 3 = 0 as paid,
    i / 7.0::float8 as ratio, date '2020-01-01' + i % 1000 as day, md5(i::text) as code, (i * 1.5)::numeric(30,10) as big
    from generate_series(1, {rows}) i"""


def load(port: int, rows: int, folder: str, connections: int) -> None:
    """Asgard's side: one load, as the asset does it."""
    from asgard_assets.ingest.sql.load import commit
    from asgard_assets.ingest.sql.load import load as read
    from asgard_assets.ingest.sql.source import SqlSource
    from asgard_assets.lake import Lake
    from asgard_assets.quality.audit import audit
    from asgard_assets.windows import Calendar

    server = {"type": "postgres", "host": "127.0.0.1", "port": port, "database": "dagster", "user": "dagster"}
    table = {"table": "orders", "key": ["id"], "split": {"column": "id"} if connections > 1 else None}
    source = SqlSource.model_validate(
        {"name": "shop", "database": server, "tables": [table], "connections": connections}
    )
    lake, today = Lake(f"{folder}/lake"), datetime.now(UTC).date().isoformat()
    loaded = read(lake, source, source.tables[0], [today], Calendar())
    found = audit(lake, loaded.staging, source.spec(source.tables[0]))
    assert not found.bad_days
    published = commit(lake, loaded, [today])
    assert published and published.rows == {today: rows}


def sides(server: Postgres, rows: int, backend: str) -> dict[str, Callable[[Path], Sequence[str]]]:
    python, side = (
        python_server("dlt_sql", Path(__file__).parent) / "python",
        Path(__file__).with_name("dlt_sql_side.py"),
    )
    url = f"postgresql+psycopg2://{server.user}:x@127.0.0.1:{server.port}/{server.database}"
    own = [
        sys.executable,
        "-m",
        "tests.benchmarks.databases",
        "--rows",
        str(rows),
        "--port",
        str(server.port),
    ]
    return {
        "asgard": lambda home: [*own, "--folder", str(home)],
        f"dlt ({backend})": lambda home: [str(python), str(side), url, str(rows), str(home), backend],
    }


def fill(server: Postgres, rows: int) -> None:
    import psycopg2

    connection = psycopg2.connect(
        host="127.0.0.1", port=server.port, user=server.user, dbname=server.database
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("drop table if exists orders")
        cursor.execute(ORDERS.format(rows=rows))
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--backend", default="connectorx", choices=["connectorx", "pyarrow", "sqlalchemy"])
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.port:
        load(given.port, given.rows, given.folder, given.connections)
        return
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as server:
        fill(server, given.rows // 4)
        small = in_a_home("", sides(server, given.rows // 4, given.backend)["asgard"])
        fill(server, given.rows)
        commands = sides(server, given.rows, given.backend)
        found = {
            name: [in_a_home("", command) for _ in range(given.runs)] for name, command in commands.items()
        }
    for name, uses in found.items():
        for used in uses:
            say(f"  {name}: {used.cpu:.2f} CPU s, {used.wall:.1f} s, {used.megabytes:.0f} MB")
    ours, theirs = found.values()
    ratio = statistics.median(a.cpu / d.cpu for a, d in zip(ours, theirs, strict=True))
    bar(f"{given.rows:,} rows: CPU, asgard : dlt", ratio, CPU)
    grown = max(used.megabytes for used in ours) / small.megabytes
    bar(f"memory at {given.rows:,} rows : at {given.rows // 4:,}", grown, MEMORY)


if __name__ == "__main__":
    main()
