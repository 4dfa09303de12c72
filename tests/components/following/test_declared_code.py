"""The version of a source of an API, a database or a topic: what its YAML says of the rows, and nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.components.following.outlook import outlooks
from asgard_assets.components.following.reads import code_number, declared_code
from asgard_assets.components.sql import sql_asset
from asgard_assets.components.stream import stream_asset
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import Reads
from tests.components.following.test_sensor import DAYS, rows
from tests.ingest.api.sources import TICKETS, source

STREAM = {"name": "events", "topic": "events.orders", "description": "Orders."}
SQL = {
    "name": "shop",
    "database": {"type": "postgres", "host": "db", "database": "shop", "user": "u"},
    "tables": [{"table": "orders"}, {"table": "users"}],
}


@pytest.mark.parametrize(
    ("change", "another"),
    [
        ({}, False),
        ({"limits": {"max_in_flight": 3}}, False),
        ({"quality": {"description": "All tickets.", "owners": ["team:x"]}}, False),
        ({"lookback_days": 3}, False),
        ({"endpoint": {"base_url": "https://api.example.com", "path": "/other"}}, True),
    ],
)
def test_of_an_api_what_is_asked_counts_and_not_how_fast(change: dict[str, Any], another: bool):
    assert (declared_code(source(TICKETS)) != declared_code(source(TICKETS | change))) is another


def test_of_a_database_each_table_has_its_own():
    one = SqlSource.model_validate(SQL)
    other = SqlSource.model_validate(
        SQL | {"tables": [{"table": "orders", "exclude": ["note"]}, {"table": "users"}]}
    )
    assert declared_code(one, one.tables[0]) != declared_code(other, other.tables[0])
    assert declared_code(one, one.tables[1]) == declared_code(other, other.tables[1])
    moved = SqlSource.model_validate(SQL | {"database": {**SQL["database"], "host": "replica"}})
    assert declared_code(one, one.tables[0]) == declared_code(moved, moved.tables[0])


def test_of_a_topic_its_schema_counts():
    one = declared_code(StreamSource.model_validate(STREAM))
    assert one == declared_code(
        StreamSource.model_validate(STREAM | {"starting": "latest", "tags": {"a": "b"}})
    )
    assert one != declared_code(StreamSource.model_validate(STREAM | {"json_schema": {"type": "object"}}))


def assets(changed: bool) -> list[dg.AssetsDefinition]:
    exclude = {"exclude": ["note"]} if changed else {}
    database = SqlSource.model_validate(SQL | {"tables": [{"table": "orders", **exclude}]})
    topic = StreamSource.model_validate(STREAM | ({"json_schema": {"type": "object"}} if changed else {}))
    api = TICKETS | (
        {"kind": "events", "lookback_days": 0, "every": "day"} if not changed else {"middleware": []}
    )
    if changed:
        api |= {"endpoint": {"base_url": "https://api.example.com", "path": "/other"}}
    return [
        api_asset(ApiIngestModel(source=source(api))),
        sql_asset(database, database.tables[0]),
        stream_asset(topic),
    ]


def test_what_an_older_yaml_brought_is_shown(lake: Lake):
    resources: dict[str, Any] = dict.fromkeys(("lake", "spark", "step_launcher"))
    made = assets(changed=False)
    specs = {key: each.specs_by_key[key] for each in made for key in each.keys}
    named = [key for key, spec in specs.items() if spec.code_version]
    assert len(named) == 3
    for key in named:
        rows(lake, key, DAYS[:2], reads=Reads(code=code_number(specs[key])))
    with dg.DagsterInstance.ephemeral() as instance:
        for changed, expected in ((False, 0), (True, 3)):
            repository = dg.Definitions(assets=assets(changed), resources=resources).get_repository_def()
            found = [each for each in outlooks(lake, repository, instance, named) if each.state.older_code]
            assert len(found) == expected
