"""Changes of a real Postgres by a real Debezium: the log in Bronze, and the rows as they are now in Silver."""

from __future__ import annotations

import uuid
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from asgard_assets.components.stream import CurrentTable, current_asset
from asgard_assets.ingest.stream.current import CurrentState, stage_current
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import NoTopicError, catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.windows import Calendar
from deployments.local.streaming.postgres import Postgres, postgres
from tests.ingest.stream.test_streams import asked, rows
from tests.patience import wait_until
from tests.servers.debezium import connect

pytestmark = pytest.mark.servers
COLUMNS = {"id": "bigint", "name": "string", "price": "decimal(10,2)", "changed_at": "timestamp"}


def do(database: Postgres, *statements: str) -> None:
    """Each statement in a transaction of its own."""
    connection = psycopg2.connect(database.url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def test_a_database_is_followed_through_changes_kills_and_a_truncation(brokers: Kafka, tmp_path: Path):
    lake, name = Lake(str(tmp_path / "lake")), f"c{uuid.uuid4().hex[:8]}"
    source = StreamSource(
        name=name, topic=f"{name}.public.items", description="Changes of items.", changes="debezium"
    )
    state = CurrentState(
        name=name, table=source.table, key=("id",), columns=COLUMNS, description="Items as they are."
    )

    def follows() -> bool:
        """Whether Silver is what Postgres is, once what was sent is read."""
        try:
            catch_up(lake, source, brokers, Calendar())
        except NoTopicError:
            return False
        if lake.table("bronze", name) is None:
            return False
        lake.publish(stage_current(lake, state))
        mine = rows(lake, f"select id, name, price, changed_at from silver.{name} order by id")
        theirs = asked(database, "select id, name, price, changed_at from items order by id")
        return [row[:3] for row in mine] == [row[:3] for row in theirs] and [
            row[3].timestamp() for row in mine
        ] == [row[3].timestamp() for row in theirs]

    with postgres(tmp_path / "postgres", "-c wal_level=logical") as database:
        do(
            database,
            "create table items (id bigint primary key, name text, price numeric(10,2), changed_at timestamptz default now())",
            "alter table items replica identity full",
            "insert into items (id, name, price) select n, 'item ' || n, n / 4.0 from generate_series(1, 60) n",
        )
        with connect(tmp_path / "connect", brokers.servers) as worker:
            assert worker.follow(name, database, "public.items") == source.topic
            wait_until(follows, 60, "the snapshot is there", pause=1)
            do(
                database,
                "update items set name = name || '!', changed_at = now() where id <= 20",
                "delete from items where id > 50",
                "insert into items (id, name, price) values (100, null, 0.05)",
            )
            worker.kill()
            do(
                database,
                "update items set price = price + 1 where id between 10 and 30",
                "alter table items add column note text default 'new'",
            )
            worker.start()
            do(database, "update items set id = 200 where id = 1")
            wait_until(follows, 90, "all changes are there", pause=1)
            operations = dict(
                rows(
                    lake,
                    f"select payload::json->>'op' op, count(*) from bronze.{name} where payload is not null group by 1",
                )
            )
            assert operations == {"r": 60, "u": 41, "d": 11, "c": 2}, "none twice, none lost"
            do(database, "truncate items", "insert into items (id, name, price) values (7, 'again', 1)")
            wait_until(follows, 60, "the truncation is there", pause=1)
            slots = asked(database, f"select active from pg_replication_slots where slot_name = '{name}'")
            assert slots == [(True,)]
    assert rows(lake, f"select id from silver.{name}") == [(7,)]
    done = dg.materialize([current_asset(state)], resources={"lake": LakeResource(root=lake.root)})
    assert done.success and CurrentTable.get_model_cls() is CurrentState
