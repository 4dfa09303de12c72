"""Lists of servers that nobody here wrote, read with nothing but the YAML of examples/: each row, each value."""

from __future__ import annotations

import json

import pytest
import yaml

from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from tests.checkout import ROOT
from tests.servers import list_servers as servers

pytestmark = pytest.mark.servers
LISTS = {
    "couchdb_changes": (servers.couchdb, ""),
    "odata_orders": (servers.odata, ""),
    "cosmos_orders": (servers.cosmos, ""),
    "kinto_orders": (servers.kinto, "next_url (header: next-page)"),
    "django_books": (servers.django, "next_url (url: next)"),
    "json_api_books": (servers.json_api, "next_url (url: links.next)"),
    "datasette_graphql": (
        servers.graphql,
        "cursor (param: variables.after, cursor: data.orders.pageInfo.endCursor)",
    ),
    "mlflow_models": (servers.mlflow, "cursor (param: page_token, cursor: next_page_token)"),
}
"""For each example its server, and what `auto` finds; empty where the pagination is declared."""
AUTO_SAYS = {
    "couchdb_changes": ("`limit` is 50", "form.pagination"),
    "odata_orders": None,  # without a size the server gives all, and its count says so
    "cosmos_orders": ("X-Ms-Continuation", "form.pagination", "{type: cursor, header: x-ms-continuation"),
}
"""What `auto` says of lists whose pages have to be declared; None where it reads all of the list."""


def no_spark():
    raise AssertionError("a list of 137 rows needs no Spark")


@pytest.mark.parametrize("name", LISTS)
def test_each_row_and_each_value_of_the_list_is_read(lake, tmp_path, monkeypatch, name):
    serve, found = LISTS[name]
    with serve(tmp_path) as served:
        for variable, value in served.variables.items():
            monkeypatch.setenv(variable, value)
        summary = run_pipeline(no_spark, ROOT / f"examples/api/{name}.yaml", lake=lake)
    assert len(served.rows) == servers.ROWS
    assert (summary.rows, summary.bad_days) == (servers.ROWS, {})
    assert summary.requests > 2
    assert (summary.pagination or "") == found
    with lake.connect() as connection:
        read = connection.execute(f"select payload from bronze.{table(name)}").fetchall()
    assert in_order(json.loads(payload) for (payload,) in read) == in_order(served.rows)


@pytest.mark.parametrize("name", AUTO_SAYS)
def test_auto_reads_all_of_a_list_whose_pages_are_declared_or_says_what_to_write(
    lake, tmp_path, monkeypatch, name
):
    told = yaml.safe_load((ROOT / f"examples/api/{name}.yaml").read_text())
    told["form"]["pagination"] = {"type": "auto"}
    headers = told["endpoint"].pop("headers", {})
    told["endpoint"]["headers"] = {name: text for name, text in headers.items() if "{page" not in text}
    with LISTS[name][0](tmp_path) as served:
        for variable, value in served.variables.items():
            monkeypatch.setenv(variable, value)
        summary = run_pipeline(no_spark, ApiSource.model_validate(told), lake=lake)
    if AUTO_SAYS[name] is None:
        assert (summary.rows, summary.bad_days) == (servers.ROWS, {})
        return
    assert list(summary.bad_days) == list(summary.days), "not a row of a part of the list is published"
    (failure,) = summary.failures
    for words in AUTO_SAYS[name]:
        assert words in failure["error"]


def table(name: str) -> str:
    return {"datasette_graphql": "graphql_orders"}.get(name, name)


def in_order(rows):
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
