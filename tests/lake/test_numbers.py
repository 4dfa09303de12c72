"""Who counts under which transaction identifier: no source, table or loader shares one with the lake."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from asgard_assets.errors import LakeError
from asgard_assets.ingest.files.shape.schema import schema_versions
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import plan_id
from tests.ingest.api.sources import TICKETS, source

SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
DAY = "2026-10-05"


def file_source(name: str) -> FileSource:
    return FileSource.model_validate(
        {"name": name, "path": name, "ds": {"type": "folder"}, "description": "Orders."}
    )


def test_a_source_cannot_have_the_name_under_which_the_lake_counts():
    with pytest.raises(ValidationError, match="a source cannot be named asgard"):
        file_source("asgard")
    with pytest.raises(ValidationError, match="a source cannot be named asgard"):
        source(TICKETS, name="asgard")
    assert file_source("asgard_orders").name == "asgard_orders"


@pytest.mark.parametrize("taken", ["asgard", f"asgard/{DAY}", f"asgard/rows/{DAY}"])
def test_the_lake_takes_no_plan_under_its_own_identifiers(lake: Lake, taken: str):
    staging = lake.stage("bronze", "orders", SCHEMA, [DAY])
    with pytest.raises(LakeError, match="the lake's own transaction identifier"):
        lake.publish(staging, plans={taken: 1})
    with pytest.raises(LakeError, match="the lake's own transaction identifier"):
        lake.amend(staging, lambda live: {}, {taken: (0, 1)})
    assert lake.version("bronze", "orders") == -1


def test_plans_of_lakes_that_are_there_keep_their_identifiers(lake: Lake):
    lake.publish(lake.stage("bronze", "orders", SCHEMA, [DAY]), plans={plan_id("orders", DAY): 7})
    table = lake.table("bronze", "orders")
    assert table is not None
    assert (table.transaction_version(f"orders/{DAY}"), table.transaction_version(f"asgard/{DAY}")) == (7, 1)


def test_a_file_source_named_like_a_stage_reads_only_its_own_schemas(lake: Lake):
    place = Path(lake.root, "_schemas", "bronze", "tickets.json")  # of the API source of bronze/tickets
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"id": "bigint"}))
    assert schema_versions(lake, "bronze") == []
