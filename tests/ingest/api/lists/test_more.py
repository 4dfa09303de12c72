"""The answer to one row's request that is only the first page of a list."""

import json

import pytest

from asgard_assets.ingest.api.lists.more import next_page_of

ORDERS = [{"id": 1}, {"id": 2}]
GOES_ON = {
    "links": {"orders": ORDERS, "_links": {"next": {"href": "/orders?page=2"}}},
    "flag": {"data": ORDERS, "has_more": True},
    "token": {"orders": ORDERS, "nextPageToken": "b"},
    "last": {"content": ORDERS, "last": False},
    "nested": {"data": {"items": ORDERS, "page_info": {"hasNextPage": True, "endCursor": "x"}}},
    "two levels": {"hits": {"hits": ORDERS}, "next_cursor": "b"},
    "embedded": {"_embedded": {"orders": ORDERS}, "_links": {"next": {"href": "/orders?page=2"}}},
    "plain rows under a name that lists have": {"data": [1, 2], "has_more": True},
    "a long one": {"orders": [{"id": n, "text": "x" * 1000} for n in range(100)], "nextPageToken": "b"},
}
IS_WHOLE = {
    "an object": {"id": 1, "next": "/users/2", "more": "text"},
    "plain values": {"id": 1, "next": "/users/2", "tags": ["a", "b"]},
    "the last page": {"data": ORDERS, "has_more": False, "next_cursor": "x"},
    "a record with records in it": {"id": 1, "owner": {"next": "/users/2", "orders": ORDERS}, "tags": ["a"]},
    "a long record": {"id": 1, "next": "/users/2", "tags": ["x" * 100_000]},
    "null": {"data": ORDERS, "next": None},
    "no items": {"data": [], "next": "/orders?page=2"},
    "a total": {"data": ORDERS, "total": 9},
}


@pytest.mark.parametrize("name", GOES_ON)
def test_an_answer_that_goes_on_is_seen(name):
    assert next_page_of(200, {}, json.dumps(GOES_ON[name]).encode(), {})


@pytest.mark.parametrize("name", IS_WHOLE)
def test_a_whole_answer_is_left_alone(name):
    assert next_page_of(200, {}, json.dumps(IS_WHOLE[name]).encode(), {}) == ""


def test_headers_speak_of_more_too():
    body = json.dumps(ORDERS).encode()
    assert "Link" in next_page_of(200, {"link": '<http://a/?page=2>; rel="next"'}, body, {})
    assert "X-Next-Cursor" in next_page_of(200, {"x-next-cursor": "b"}, body, {})
    assert next_page_of(200, {"link": '<http://a/?page=1>; rel="prev"'}, body, {}) == ""
    assert next_page_of(200, {}, b"<html>next</html>", {}) == ""
