"""Nested lists as tables of their own: every element once, with its parent's key, whatever ends a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from asgard_assets.errors import LakeError
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
from tests.fakes.rest_api import RestApi, serving

DAY = "2026-10-05"


class Shop(RestApi):
    """`GET /orders`: three pages of orders, each with lines, some of which have discounts. `/cart/7` is one of them."""

    orders: list[dict[str, Any]]

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/orders", self._orders)
        app.router.add_get("/cart/{id}", self._cart)
        self.orders = [order(number) for number in range(1, 26)]
        return app

    async def _orders(self, request: web.Request) -> web.Response:
        page = int(request.query.get("page", 1))
        some = self.orders[(page - 1) * 10 : page * 10]
        return web.Response(text=json.dumps({"data": some, "pages": 3}), content_type="application/json")

    async def _cart(self, request: web.Request) -> web.Response:
        return web.json_response(self.orders[int(request.match_info["id"]) - 1])


def order(number: int) -> dict[str, Any]:
    lines = [
        {"sku": f"A{n}", "price": 10**20 + n, "discounts": [{"code": f"D{d}"} for d in range(n % 3)]}
        for n in range(number % 4)
    ]
    return {"id": number, "cart": {"lines": lines or None}, "tags": ["x"] * (number % 2)}


def document(api: Shop, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "orders",
        "form": {
            "type": "pull", "items": "data", "key": {"id": "bigint"},
            "pagination": {"type": "page", "size_param": None, "pages": "pages"},
        },
        "endpoint": {"base_url": api.url, "path": "/orders"},
        "sink": {"table": "bronze/orders", "children": list(children)},
        "quality": {"description": "Orders."},
    } | more  # fmt: skip


DISCOUNTS = {"path": "discounts", "table": "bronze/discounts", "key": {"code": "string"}}
LINES = {
    "path": "cart.lines",
    "table": "bronze/order_lines",
    "key": {"sku": "string"},
    "children": [DISCOUNTS],
}
TAGS = {"path": "tags", "table": "bronze/order_tags"}


@pytest.fixture
def api() -> Iterator[Shop]:
    with serving(Shop()) as server:
        yield server


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def run(lake: Lake, told: dict[str, Any], **how: Any):
    source = ApiSource.model_validate(told)
    return run_pipeline(lambda: pytest.fail("Spark was started"), source, days=[DAY], lake=lake, **how)


def rows(lake: Lake, table: str, columns: str) -> list[tuple[Any, ...]]:
    with lake.connect(tables=[table]) as connection:
        return connection.execute(f"select {columns} from {table.replace('/', '.')} order by all").fetchall()


def expected(api: Shop) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    lines = [
        (o["id"], i["sku"], n, i["price"]) for o in api.orders for n, i in enumerate(o["cart"]["lines"] or [])
    ]
    discounts = [
        (o["id"], i["sku"], d["code"])
        for o in api.orders
        for i in o["cart"]["lines"] or []
        for d in i["discounts"]
    ]
    return sorted(lines), sorted(discounts)


def told_lines(lake: Lake) -> list[tuple[Any, ...]]:
    found = rows(lake, "bronze/order_lines", "parent_id, sku, item_index, payload, ds")
    assert {row[-1] for row in found} == {DAY}
    return [(*row[:3], json.loads(row[3])["price"]) for row in found]


def test_each_element_is_a_row_with_its_parents_key(lake, api):
    summary = run(lake, document(api, LINES, TAGS))
    lines, discounts = expected(api)
    assert told_lines(lake) == lines, "numbers beyond a double too"
    assert rows(lake, "bronze/discounts", "parent_parent_id, parent_sku, code") == discounts
    tags = rows(lake, "bronze/order_tags", "parent_id, item_index, payload")
    assert tags == [(number, 0, '"x"') for number in range(1, 26, 2)]
    assert summary.children["bronze/order_lines"] == {DAY: len(lines)}
    assert summary.rows == 25
    keys = rows(lake, "bronze/discounts", "row_key")
    assert len({*keys}) == len(discounts)
    assert json.loads(keys[0][0]) == {"parent_parent_id": 10, "parent_sku": "A1", "code": "D0"}


def test_a_repeated_run_makes_the_same_rows_and_forgets_what_is_gone(lake, api):
    run(lake, document(api, LINES))
    before = told_lines(lake)
    run(lake, document(api, LINES))
    assert told_lines(lake) == before
    api.orders[6]["cart"]["lines"] = []
    api.orders[2]["cart"]["lines"].append({"sku": "new", "price": 1, "discounts": []})
    run(lake, document(api, LINES))
    assert told_lines(lake) == expected(api)[0]


@pytest.mark.parametrize("table", ["bronze/order_lines", "bronze/orders"])
def test_a_run_that_ends_between_two_commits_is_made_good_by_the_next(lake, api, table, monkeypatch):
    run(lake, document(api, LINES))
    api.orders = [order(number) for number in range(3, 20)]
    publish = Lake.publish

    def killed(self, staging, *rest):
        if staging.table == table:
            raise KeyboardInterrupt
        return publish(self, staging, *rest)

    monkeypatch.setattr(Lake, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        run(lake, document(api, LINES))
    monkeypatch.undo()
    assert len(rows(lake, "bronze/orders", "id")) == 25, "the parent is the last to be seen"
    run(lake, document(api, LINES))
    assert told_lines(lake) == expected(api)[0]
    assert len(rows(lake, "bronze/orders", "id")) == 17


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("none", 'is "none", and no list'),
        ([{"sku": "A1"}, {"sku": "A1"}], "item_keys_are_unique"),
        ([{"name": "no key"}], "item_keys_are_unique"),
    ],
)
def test_a_day_that_a_child_table_cannot_have_is_published_in_none(lake, api, lines, reason):
    api.orders[4]["cart"]["lines"] = lines
    summary = run(lake, document(api, LINES, TAGS))
    assert reason in str(summary.bad_days[DAY])
    for table in ("orders", "order_lines", "order_tags"):
        assert lake.table("bronze", table) is None


def test_an_object_in_place_of_a_list_is_a_list_of_one(lake, api):
    api.orders = [{"id": 1, "cart": {"lines": {"sku": "only", "price": 5}}}]
    run(lake, document(api, LINES))
    assert told_lines(lake) == [(1, "only", 0, 5)]


def test_an_objects_values_may_be_the_elements(lake, api):
    api.orders = [
        {"id": 1, "cart": {"lines": {"A1": {"price": 5, "sku": "A1"}, "B2": {"price": 6, "sku": "B2"}}}}
    ]
    run(lake, document(api, LINES | {"map_key": "code"}))
    found = [json.loads(row[0])["code"] for row in rows(lake, "bronze/order_lines", "payload")]
    assert found == ["A1", "B2"]


def test_a_list_inside_a_list_says_how_it_is_written(lake, api):
    summary = run(lake, document(api, {"path": "cart.lines.discounts", "table": "bronze/discounts"}))
    assert "make it a child table" in str(summary.bad_days[DAY])


def test_a_path_that_is_in_no_item_is_noted(lake, api):
    summary = run(lake, document(api, TAGS | {"path": "tgas"}))
    assert "`tgas` was in no item" in summary.notes[0]
    assert rows(lake, "bronze/order_tags", "payload") == []


def test_lists_in_the_answers_of_rows(lake, api, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"order_id": [3, 7]}), tmp_path / "rows.parquet")
    told = document(api, LINES, form={"type": "row", "rows": {"key": {"order_id": "bigint"}}})
    told["endpoint"]["path"] = "/cart/{row.order_id}"
    run(lake, told, source_df=str(tmp_path / "rows.parquet"))
    found = rows(lake, "bronze/order_lines", "parent_order_id, sku")
    assert found == [(n, f"A{i}") for n in (3, 7) for i in range(3)]


def test_a_typed_payload_keeps_the_list_as_json(lake, api):
    told = document(api, TAGS)
    told["sink"]["payload"] = {"columns": {"id": "bigint", "tags": "json"}}
    run(lake, told)
    assert len(rows(lake, "bronze/order_tags", "payload")) == 13
    told["sink"]["payload"] = {"columns": {"id": "bigint", "tags": ["string"]}}
    with pytest.raises(ValueError, match="tags: json"):
        ApiSource.model_validate(told)


@pytest.mark.parametrize(
    ("children", "message"),
    [
        ([TAGS, TAGS], "named twice"),
        ([TAGS | {"table": "bronze/orders"}], "named twice"),
        ([TAGS | {"key": {"payload": "string"}}], "column payload"),
    ],
)
def test_child_tables_that_cannot_be_are_refused(api, children, message):
    with pytest.raises(ValueError, match=message):
        ApiSource.model_validate(document(api, *children))


def test_the_parents_need_a_key(api):
    told = document(api, TAGS)
    del told["form"]["key"]
    with pytest.raises(ValueError, match="key of its parent"):
        ApiSource.model_validate(told)


@pytest.mark.parametrize("step", ["stage_source", "stage_children"])
def test_another_run_that_was_faster_wins_in_both_tables(lake, api, monkeypatch, step):
    from asgard_assets.ingest.api import pipeline

    staged = getattr(pipeline, step)

    def slow(*told):
        mine = staged(*told) if step == "stage_source" else None
        monkeypatch.setattr(pipeline, step, staged)
        api.orders.append(order(99))
        run(lake, document(api, LINES))
        return mine or staged(*told)

    monkeypatch.setattr(pipeline, step, slow)
    with pytest.raises(LakeError):
        run(lake, document(api, LINES))
    assert told_lines(lake) == expected(api)[0]
