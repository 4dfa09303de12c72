"""Every reader sees the same rows, nulls and types, after every change: of generated tables, under the names of catalogs.

Delta: delta-rs, DuckDB, and Spark and Trino by the names of a Hive Metastore. Iceberg: pyiceberg, DuckDB and Trino through
Nessie. `pytest -m soak tests/catalogs/test_matrix.py -s` takes thirty tables; CI three.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pytest

from asgard_assets.catalogs.hive import HiveMetastore
from asgard_assets.catalogs.iceberg import IcebergCatalog
from asgard_assets.catalogs.registration import catalog_of
from asgard_assets.lake import Lake
from asgard_assets.lake.duck import extension
from asgard_assets.settings import Settings
from tests.catalogs import readers
from tests.catalogs.generated import CHANGES, Generated
from tests.catalogs.spark_reader import Spark, spark
from tests.catalogs.views import Side, View, expected, of_arrow, of_trino
from tests.patience import loop_seconds
from tests.servers import jdbc
from tests.servers.hive import metastore
from tests.servers.nessie import nessie
from tests.servers.s3 import S3, s3
from tests.servers.trino import described, trino

pytestmark = pytest.mark.servers
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 30))]
DELTA, ICEBERG = Side(), Side(iceberg=True)


@dataclass
class World:
    """The servers, each started once, and the readers that they give."""

    server: S3
    lake: Lake
    iceberg: IcebergCatalog
    hive: HiveMetastore
    port: int
    spark: Spark

    def follow(self, table: str) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda catalog: catalog.follow(self.lake, table), (self.iceberg, self.hive)))

    def seen(self, table: str, schema: pa.Schema) -> Iterator[tuple[str, Side, Callable[[], View]]]:
        """Each reader's name, how its side spells what the log says, and what it sees."""
        name = table.replace("/", ".")
        rounded = Side(milliseconds=True)
        yield "DuckDB, Delta", DELTA, lambda: of_arrow(self._duckdb_delta(table), schema, DELTA)
        yield "Spark", DELTA, lambda: of_arrow(self.spark.rows(name), schema, DELTA)
        yield "Trino, Delta", rounded, lambda: self._trino(f"lake.{name}", schema, rounded)
        yield "pyiceberg", ICEBERG, lambda: of_arrow(self._pyiceberg(table), schema, ICEBERG)
        yield "DuckDB, Iceberg", ICEBERG, lambda: of_arrow(self._duckdb_iceberg(name), schema, ICEBERG)
        yield "Trino, Iceberg", ICEBERG, lambda: self._trino(f"iceberg.{name}", schema, ICEBERG)

    def _duckdb_delta(self, table: str) -> pa.Table:
        with self.lake.connect(tables=[table]) as connection:
            return connection.execute(f"select * from {table.replace('/', '.')}").to_arrow_table()

    def _pyiceberg(self, table: str) -> pa.Table:
        found = self.iceberg.load(table)
        assert found is not None
        return found.scan().to_arrow()

    def _duckdb_iceberg(self, name: str) -> pa.Table:
        with duckdb.connect() as connection:
            for each in ("httpfs", "avro", "iceberg"):
                connection.execute(f"load '{extension(each)}'")
            connection.execute("set timezone = 'UTC'")
            connection.execute(
                f"create secret (type s3, key_id '{self.server.access_key}', secret '{self.server.secret_key}', "
                f"url_style 'path', region '{self.server.region}', use_ssl false, "
                f"endpoint '{self.server.endpoint.removeprefix('http://')}')"
            )
            connection.execute(
                f"attach 'lake' as lake (type iceberg, endpoint '{self.iceberg.properties['uri']}', "
                "authorization_type 'none', access_delegation_mode 'none')"
            )
            return connection.execute(f"select * from lake.{name}").to_arrow_table()

    def _trino(self, name: str, schema: pa.Schema, side: Side) -> View:
        columns = ", ".join(f'"{each.name.lower()}"' for each in schema)
        types, rows = described(self.port, f"select {columns} from {name}")
        plain = {column: re.sub(r"timestamp\(\d+\)", "timestamp", kind) for column, kind in types.items()}
        return of_trino({k: v.replace('"', "") for k, v in plain.items()}, rows, schema, side)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        server = stack.enter_context(s3(folder / "s3", "lake"))
        for name, value in (server.environment | {"ASGARD_LAKE": "s3://lake/delta"}).items():
            patch.setenv(name, value)
        with ThreadPoolExecutor() as pool:
            starting = [
                pool.submit(stack.enter_context, metastore(folder / "hive")),
                pool.submit(stack.enter_context, nessie(folder / "nessie", server, "s3://lake/iceberg")),
            ]
        names, iceberg = (each.result() for each in starting)
        reader = stack.enter_context(spark(names, str(folder / "spark.log")))
        (folder / "trino").mkdir()
        port = stack.enter_context(trino(folder / "trino", server, "s3://lake", iceberg, names))
        lake = Lake("s3://lake/delta", server.endpoint, server.region)
        yield World(
            server, lake, catalog_of(Settings(iceberg=iceberg), lake), HiveMetastore(names), port, reader
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_every_reader_agrees_after_every_change(world: World, seed: int):
    made = Generated(world.lake, seed)
    made.begin()
    began = time.monotonic()
    for change in CHANGES:
        made.change(change)
        world.follow(made.table)
        _agree(world, made, change)
    print(f"{time.monotonic() - began:.0f} s,", end=" ")
    print(
        f"seed {seed}: {', '.join(f'{k} {v}' for k, v in made.columns.items())}; loop {loop_seconds():.2f} s"
    )


def _agree(world: World, made: Generated, change: str) -> None:
    delta = world.lake.table("gold", made.name)
    assert delta is not None
    truth = delta.to_pyarrow_table()
    schema = pa.schema(delta.schema().to_arrow())
    with ThreadPoolExecutor() as pool:
        seen = [(name, side, pool.submit(view)) for name, side, view in world.seen(made.table, schema)]
    for name, side, view in seen:
        types, rows = view.result()
        wanted_types, wanted = expected(truth, schema, side)
        where = f"seed {made.seed}, after {change}, {name}"
        assert {k: _spaceless(v) for k, v in types.items()} == {
            k: _spaceless(v) for k, v in wanted_types.items()
        }, where
        assert rows == wanted, where


def _spaceless(kind: str) -> str:
    return kind.replace(", ", ",")


def test_a_bi_tool_reads_gold_over_jdbc(world: World):
    """Both catalogs: it finds the table and its columns, and a prepared statement gives the lake's own figures."""
    table = "gold/orders"
    days = readers.DAYS[:2]
    readers.publish(world.lake, days, [readers.row(n, day) for day in days for n in range(20)])
    world.follow(table)
    query = 'select ds, count(*), sum(amount), count(name), max("at"), min(day) from {} where ds >= ? group by ds order by ds'
    with world.lake.connect(tables=[table]) as connection:
        truth = connection.execute(
            "select ds, count(*), sum(amount), count(name) from gold.orders group by ds order by ds"
        )
        wanted = [tuple(map(str, each)) for each in truth.fetchall()]
    for catalog in ("lake", "iceberg"):
        found = jdbc.read(
            world.port, (catalog, "gold", "orders"), query.format(f"{catalog}.gold.orders"), days[0]
        )
        assert ("orders",) in found["table"]
        assert [name for name, _ in found["column"]] == [*readers.COLUMNS, "ds"]
        assert ("amount", "decimal(18,4)") in found["column"]
        assert [each[:4] for each in found["row"]] == wanted
        assert all(len(each) == 6 and each[5] == "1969-12-31" for each in found["row"])


def test_what_is_dropped_is_gone_for_every_reader(world: World):
    made = Generated(world.lake, 100)
    made.begin()
    world.follow(made.table)
    before = set(world.hive.tables())
    from asgard_assets.lake.changes.copying import remove

    remove(world.lake, made.table)
    world.follow(made.table)
    assert before - set(world.hive.tables()) == {made.table}
    assert world.iceberg.load(made.table) is None
    for side in ("lake", "iceberg"):
        shown = described(world.port, f"show tables from {side}.gold")[1]
        assert (made.name,) not in shown
