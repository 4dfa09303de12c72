"""A list for each parent row: pages, columns of the parent, failures, and what a resume asks again."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from tests.fakes.lists_api import ListsApi
from tests.fakes.rest_api import serving
from tests.ingest.api.sources import put_users

DAY = "2026-10-05"


@pytest.fixture
def api():
    with serving(ListsApi()) as server:
        yield server


def orders(url, form=None, **changes):
    rows = {"query": "select id as customer from bronze.users where ds = $ds", "reads": ["bronze/users"],
            "key": {"customer": "bigint"}}  # fmt: skip
    return ApiSource.model_validate(
        {
            "name": "orders",
            "form": {"type": "pull", "rows": rows, "pagination": {"type": "link"}, "key": {"id": "bigint"}}
            | (form or {}),
            "endpoint": {"base_url": url, "path": "/customers/{row.customer}/orders"},
            "retry": {"attempts": 2, "backoff_seconds": 0.01},
            "sink": {"table": "bronze/orders"},
            "quality": {"description": "Orders of each customer.", "min_success": 0.1},
        }
        | changes
    )


def test_each_parent_has_its_own_pages_and_its_key_in_every_row(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3, DAY)
    found = preview(lake, orders(api.url), DAY, count=10).rows
    assert {(row["customer"], row["id"]) for row in found} == {
        (c, n) for c in (1, 2, 3) for n in range(1, 26)
    }
    assert len({(row["request_id"], row["item_index"]) for row in found}) == 75
    assert len(api.calls) == 9


def test_a_parent_that_fails_is_a_row_with_a_reason(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 4, DAY)
    found = preview(lake, orders(api.url), DAY, count=10).rows
    (failed,) = [row for row in found if not row["success"]]
    assert (failed["customer"], failed["outcome"], failed["error_message"]) == (4, "permanent", "status 404")
    nothing = orders(api.url, answers={"rules": [{"status": 404, "means": "empty"}]})
    assert all(row["success"] for row in preview(lake, nothing, DAY, count=10).rows)


def test_a_row_whose_answer_has_a_next_page_says_so(tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 1, DAY)
    rows = {
        "query": "select id as customer from bronze.users",
        "reads": ["bronze/users"],
        "key": {"customer": "bigint"},
    }
    source = orders(api.url, {})
    source = ApiSource.model_validate(
        source.model_dump(mode="json") | {"form": {"type": "row", "rows": rows}}
    )
    (row,) = preview(lake, source, DAY).rows
    assert row["success"]
    assert row["error_class"] == "MorePages"


def test_keys_of_parents_and_items_may_not_have_one_name(api):
    rows = {"query": "select 1 as id", "reads": ["bronze/users"], "key": {"id": "bigint"}}
    with pytest.raises(ValidationError, match="rename the parents' column"):
        orders(api.url, {"rows": rows}, endpoint={"base_url": api.url, "path": "/customers/{row.id}/orders"})


def test_a_resume_walks_only_the_parents_that_failed(spark, tmp_path, api):
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3, DAY)
    api.status = {2: [503, 503]}
    first = run_pipeline(spark, orders(api.url), days=[DAY], lake=lake)
    assert first.version is not None
    assert first.outcomes[DAY] == {"success": 60, "retryable": 1}
    api.calls.clear()
    second = run_pipeline(spark, orders(api.url), days=[DAY], lake=lake)
    assert second.modes[DAY] == "resume"
    assert {call.split("/")[2] for call in api.calls} == {"2"}
    assert second.outcomes[DAY] == {"success": 75}
    with lake.connect() as connection:
        told = connection.execute(
            "select count(*), count(distinct (customer, id)) from bronze.orders"
        ).fetchone()
    assert told == (75, 75)
