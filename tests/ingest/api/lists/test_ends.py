"""Where each style of pages ends: flags in either sense, end values, totals, empty pages, headers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from asgard_assets.ingest.api.lists.pagination import Page, Seen, first, following
from asgard_assets.ingest.api.source.forms import Pagination

STYLE: TypeAdapter[Any] = TypeAdapter(Pagination)
URL = "http://api.test/items"


def after(
    style: dict[str, Any], body: Any, items: int = 10, headers: dict[str, str] | None = None, last: Any = None
) -> Page | None:
    pagination = STYLE.validate_python(style)
    seen = Seen(honoured=True)
    return following(pagination, first(pagination), URL, headers or {}, body, items, last, seen=seen)


@pytest.mark.parametrize("style", ["page", "offset", "cursor", "next_url"])
@pytest.mark.parametrize("flag", ["more", "last"])
@pytest.mark.parametrize(("yes", "no"), [(True, False), ("true", "false"), (1, 0), ("Y", "N")])
def test_flags_in_either_sense_end_every_style(style, flag, yes, no):
    told = {"type": style, flag: "meta.flag"} | ({"size": 10} if style in ("page", "offset") else {})
    ends, goes_on = (no, yes) if flag == "more" else (yes, no)
    body = {"next_cursor": "t2", "next": "/items?page=2"}
    assert after(told, body | {"meta": {"flag": ends}}) is None
    assert after(told, body | {"meta": {"flag": goes_on}}) is not None


@pytest.mark.parametrize("value", [None, "", False, 0, -1, "0", "-1"])
def test_tokens_that_mean_the_end(value):
    assert after({"type": "cursor"}, {"next_cursor": value}) is None
    assert after({"type": "cursor"}, {}) is None
    assert after({"type": "cursor"}, {"next_cursor": "t2"}) is not None


@pytest.mark.parametrize(("type", "at"), [("cursor", "next_cursor"), ("next_url", "next")])
def test_own_end_values(type, at):
    told = {"type": type, "end": ["EOF", "/items?page=last"]}
    assert after(told, {at: "EOF"}) is None
    assert after(told, {at: "/items?page=last"}) is None
    assert after(told, {at: "/items?page=2"}) is not None


@pytest.mark.parametrize("value", [None, "", False])
def test_addresses_that_mean_the_end(value):
    assert after({"type": "next_url"}, {"next": value}) is None


def test_an_offset_may_count_from_one_and_ends_by_a_total_that_is_text():
    told = {"type": "offset", "start": 1, "size": 10, "total": "total"}
    assert first(STYLE.validate_python(told)).query == {"offset": "1", "limit": "10"}
    page = after(told, {"total": "25"})
    assert page is not None and page.query == {"offset": "11", "limit": "10"}
    assert after(told, {"total": "10"}) is None


def test_the_last_id_without_a_flag_ends_with_an_empty_page():
    told = {"type": "cursor", "param": "after", "last_item": "id"}
    page = after(told, {"data": [{"id": 7}]}, 1, last={"id": 7})
    assert page is not None and page.query == {"after": "7"}
    assert after(told, {"data": []}, 0) is None


def test_a_token_in_a_header():
    told = {"type": "cursor", "header": "X-Next", "param": "from"}
    page = after(told, {}, headers={"x-next": "t2"})
    assert page is not None and page.query == {"from": "t2"}
    assert after(told, {}, headers={}) is None
