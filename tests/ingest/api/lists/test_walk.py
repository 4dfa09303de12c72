import json

import pytest
from pydantic import TypeAdapter

from asgard_assets.ingest.api.lists.pagination import MalformedPage
from asgard_assets.ingest.api.lists.walk import Walk, later
from asgard_assets.ingest.api.plan.rendering import Renderer, page_id, partition_values
from asgard_assets.ingest.api.source.forms import PullForm
from tests.ingest.api.sources import TICKETS, source

URL = "https://api.test/v1/things"
FORM = TypeAdapter(PullForm)


def walked(form, *bodies, limit=None):
    """All items of a walk through pages with these bodies, and the walk."""
    walk, pages, items = Walk(FORM.validate_python({"type": "pull"} | form), limit), list(bodies), []
    page = walk.first
    while page is not None:
        found, page = walk.read(page, URL, {}, json.dumps(pages.pop(0)).encode())
        items += found
    assert not pages or limit, "every page was asked for"
    return items, walk


def test_found_pages_are_walked_to_the_end():
    items, walk = walked(
        {"pagination": {"type": "auto"}},
        {"next_page_token": "b", "things": [1, 2]},
        {"next_page_token": "", "things": [3]},
    )
    assert items == [1, 2, 3]
    assert walk.found == "cursor (param: page_token, cursor: next_page_token)"


def test_a_cursor_of_the_last_item_ends_with_the_flag():
    how = {"type": "cursor", "last_item": "id", "more": "has_more", "param": "starting_after"}
    items, _ = walked(
        {"items": "data", "pagination": how},
        {"has_more": True, "data": [{"id": "a"}, {"id": "b"}]},
        {"has_more": False, "data": [{"id": "c"}]},
    )
    assert [item["id"] for item in items] == ["a", "b", "c"]


def test_the_cursor_of_a_walk_is_the_greatest_value_seen():
    form = {"pagination": {"type": "auto"}, "incremental": {"field": "at"}}
    _, walk = walked(form, {"data": [{"at": "2026-10-05"}, {"at": "2026-10-07"}, {"at": None}, {}]})
    assert walk.cursor == "2026-10-07"
    _, walk = walked({"items": "data", "incremental": {"body": "sync"}}, {"data": [], "sync": "s2"})
    assert walk.cursor == "s2"
    with pytest.raises(MalformedPage, match="no text or number"):
        walked(form, {"data": [{"at": {}}]})


def test_cursors_are_compared_as_numbers_or_as_text():
    assert later(9, 10) == 10
    assert later("2026-01-01T00:00:00Z", "2025-12-31T00:00:00Z") == "2026-01-01T00:00:00Z"
    assert later(None, 3) == 3


def test_a_limit_ends_the_walk():
    form = {"items": "data", "pagination": {"type": "cursor"}}
    items, _ = walked(
        form, {"data": [1, 2], "next_cursor": "x"}, {"data": [3, 4], "next_cursor": "y"}, limit=3
    )
    assert items == [1, 2, 3]


def test_page_parameters_can_stand_in_the_body():
    how = {"type": "cursor", "param": "paging.after", "cursor": "next", "place": "body"}
    config = source(
        TICKETS,
        form={"type": "pull", "items": "data", "pagination": how},
        endpoint={
            "base_url": "http://api",
            "path": "/search",
            "method": "POST",
            "body": {"paging": {"size": 5}},
        },
    )
    walk = Walk(config.form)
    renderer, day = Renderer(config, "http://api"), partition_values("2026-10-05")
    first, _ = renderer.request("x", day, {}, walk.first)
    assert json.loads(first.body) == {"paging": {"size": 5}}
    _, page = walk.read(walk.first, URL, {}, b'{"data": [1], "next": "n"}')
    second, _ = renderer.request("x", day, {}, page)
    assert json.loads(second.body) == {"paging": {"size": 5, "after": "n"}}
    assert page_id("c", "2026-10-05", page) != page_id("c", "2026-10-05", walk.first)


@pytest.mark.parametrize("cursors", ["aa", "aba", "abca"])
def test_cursors_that_come_back_end_the_walk(cursors):
    pages = [{"data": [1], "next_cursor": cursor} for cursor in cursors]
    with pytest.raises(MalformedPage, match="was read before"):
        walked({"items": "data", "pagination": {"type": "cursor"}}, *pages)
