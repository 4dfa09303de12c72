"""APIs that nobody here wrote, loaded with nothing but the YAML of examples/."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.plan.calendar import today
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.config import load
from tests.checkout import ROOT
from tests.patience import patience
from tests.servers.foreign import datasette, httpbin, json_server

pytestmark = pytest.mark.servers
EXAMPLES = ROOT / "examples/api"


def rows(lake, query):
    with lake.connect() as connection:
        return connection.execute(query).to_arrow_table().to_pylist()


def test_datasette_is_walked_by_its_links_and_goes_on_from_its_cursor(spark, lake, tmp_path, monkeypatch):
    config = EXAMPLES / "datasette_orders.yaml"
    with datasette(tmp_path, 250) as (url, database):
        monkeypatch.setenv("DATASETTE_URL", url)
        seen = preview(lake, load(config), "2026-10-05", count=2)
        assert (len(seen.rows), seen.pagination) == (200, "link")
        assert lake.version("bronze", "orders") == -1, "a preview writes nothing"

        first = run_pipeline(spark, config, days=["2026-10-05"], lake=lake)
        assert (first.rows, first.requests) == (250, 3)
        assert first.cursor == "2026-10-05T04:09:00"
        with sqlite3.connect(database) as connection:
            connection.execute(
                "update orders set updated_at = '2026-10-06T01:00:00', note = 'x' where id < 3"
            )
        second = run_pipeline(spark, config, days=["2026-10-06"], lake=lake)
        assert (second.rows, second.cursor) == (3, "2026-10-06T01:00:00")
        # The first day once more: from where it began, so that what changed since is there too.
        again = run_pipeline(spark, config, days=["2026-10-05"], lake=lake)
        assert again.rows == 250
        third = run_pipeline(spark, config, days=["2026-10-07"], lake=lake)
        assert (third.rows, third.cursor) == (0, "2026-10-06T01:00:00")
        with pytest.raises(ConfigError, match=r"datasette_orders\.yaml:\d+: form.*come in order.*2026-10-07"):
            run_pipeline(spark, config, days=["2026-10-04"], lake=lake)
    found = rows(lake, "select ds, payload.id as id, payload.amount as amount from bronze.orders")
    assert Counter(row["ds"] for row in found) == {"2026-10-05": 250, "2026-10-06": 3}
    assert all(row["amount"] == row["id"] / 4 for row in found)


def test_json_server_is_walked_by_page_and_its_columns_are_told(spark, lake, tmp_path, monkeypatch):
    products = [
        {"id": str(n), "name": f"p{n}", "price": n + 0.5, "tags": ["a"], "dim": {"w": n}} for n in range(90)
    ]
    config = EXAMPLES / "json_server_products.yaml"
    with json_server(tmp_path, products) as url:
        monkeypatch.setenv("JSON_SERVER_URL", url)
        summary = run_pipeline(spark, config, lake=lake)
        assert (summary.days, summary.rows, summary.requests) == ((today(),), 90, 3)
        assert summary.pagination == "page (param: _page, size_param: None, pages: pages)"
        query = "select payload.* from bronze.catalog_products"
        found = sorted(rows(lake, query), key=lambda row: int(row["id"]))
        assert found == products
        with pytest.raises(ConfigError, match=r"json_server_products\.yaml:\d+: kind: .*has no history"):
            run_pipeline(spark, config, days=["2026-10-05"], lake=lake)
        # The next run knows the schema; what does not fit is kept and told.
        (tmp_path / "db.json").write_text(
            json.dumps({"products": [products[0] | {"price": "free", "new": True}, *products[1:]]})
        )
        deadline = time.monotonic() + patience(30)  # the server looks at its file from time to time
        while not (summary := run_pipeline(spark, config, lake=lake)).drift:
            assert time.monotonic() < deadline, "json-server goes on answering what it had at its start"
        assert summary.drift == {"type price": 1, "new new": 1}
    rescued = rows(
        lake, "select payload_rescued from bronze.catalog_products where payload_rescued is not null"
    )
    assert [json.loads(row["payload_rescued"]) for row in rescued] == [{"price": "free", "new": True}]


def test_httpbin_says_that_rows_were_sent_as_configured(spark, lake, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPBIN_PASSWORD", "a-long-password")
    frame = spark.createDataFrame(
        [
            (1, " Ada@Example.org ", "2026-10-05", "pro"),
            (2, "b@c", "2026-10-05", None),
            (3, None, None, None),
        ],
        "id bigint, email string, signed_up string, plan string",
    )
    with httpbin(tmp_path) as url:
        monkeypatch.setenv("HTTPBIN_URL", url)
        summary = run_pipeline(
            spark, EXAMPLES / "httpbin_signups.yaml", frame, days=["2026-10-06"], lake=lake
        )
    assert summary.by_outcome == {"success": 2, "permanent": 1}
    found = {row["id"]: row for row in rows(lake, "select * from bronze.signups")}
    assert found[1]["url"].endswith("/anything/ada%40example.org?day=20261005&plan=pro")
    assert found[1]["payload"] == {"id": 1, "since": 1791158400, "plan": "PRO"}
    assert (found[2]["url"].endswith("?day=20261005"), found[2]["payload"]["plan"]) == (True, "FREE")
    assert found[3]["error_message"] == "the row has no email, which form.rows.required asks for"
    told = json.loads(found[1]["body"])
    assert told["headers"]["X-Day"] == "2026-10-06"
    assert told["headers"]["Authorization"] == "Basic ***"
    assert "a-long-password" not in json.dumps(list(found.values()), default=str)
