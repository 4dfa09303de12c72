"""What a sink may say, and what a lake refuses."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.source.sink import Sink
from asgard_assets.ingest.api.table.bronze import columns
from tests.ingest.api.sources import TICKETS, USAGE, source


def test_a_sink_of_the_source_documents_is_read():
    told = {"table": "bronze/crm", "mode": "overwrite", "location": None, "partition_by": "ds",
            "properties": {"delta.logRetentionDuration": "interval 30 days"}}  # fmt: skip
    assert Sink.model_validate(told).partition_by == ("ds",)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"mode": "append"}, "`append` is never done"),
        ({"mode": "merge"}, "merge by key in Silver"),
        ({"location": "s3://elsewhere/crm"}, "lies in the lake, at stage/table"),
        ({"partition_by": ["country"]}, "and by nothing else"),
        ({"partition_by": []}, "and by nothing else"),
    ],
)
def test_what_the_lake_refuses_is_said_with_what_to_do(told, said):
    with pytest.raises(ValidationError, match=said) as found:
        Sink.model_validate({"table": "bronze/crm"} | told)
    assert "0004-what-a-sink-may-say" in str(found.value)


def test_a_row_has_a_hash_of_what_the_api_said():
    hashed = source(TICKETS, sink={"table": "bronze/tickets", "row_hash": True})
    assert "row_hash" in columns(hashed)
    assert "row_hash" not in columns(source(TICKETS))
    content = Content(hashed, Redactor(), None)
    one, same, other = ({"id": 1, "b": [1, 2]}, {"b": [1, 2], "id": 1}, {"id": 1, "b": [2, 1]})
    found = [content.of_item(item)["row_hash"] for item in (one, same, other)]
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 64


def test_a_body_is_hashed_too():
    content = Content(source(USAGE, sink={"table": "bronze/usage", "row_hash": True}), Redactor(), None)
    told = [
        content.of_body(text, True)["row_hash"] for text in ('{"a": 1, "b": 2}', '{"b":2,"a":1}', "plain")
    ]
    assert told[0] == told[1] != told[2]
    assert content.of_body(json.dumps({}), False)["row_hash"] is None
