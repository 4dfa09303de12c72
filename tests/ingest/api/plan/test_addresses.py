"""Where requests go: lists in the query, pages in the path, next addresses, a base address for each row."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.access.auth import Credentials, authorize
from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.plan.rendering import Renderer, partition_values
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.addresses import encoded
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import Secret
from asgard_assets.ingest.api.source.templates import RenderError
from asgard_assets.lake import Lake
from tests.fakes.lists_api import ListsApi
from tests.fakes.rest_api import serving

DAY = "2026-10-05"


@pytest.fixture
def api():
    with serving(ListsApi()) as server:
        yield server


def config(form=None, path="/items/plain", **changes):
    endpoint = {"base_url": "http://api", "path": path} | changes.pop("endpoint", {})
    form = {"type": "pull", "items": "data", "key": {"id": "bigint"}} | (form or {})
    whole = {"name": "lists", "form": form, "endpoint": endpoint, "sink": {"table": "bronze/lists"}}
    return ApiSource.model_validate(whole | {"quality": {"description": "A list."}} | changes)


def walked(tmp_path, api, form=None, path="/items/plain", **changes):
    endpoint = {"base_url": api.url} | changes.pop("endpoint", {})
    source = config(form, path, endpoint=endpoint, **changes)
    return list(preview(Lake(str(tmp_path / "lake")), source, DAY, count=50).rows)


def urls(endpoint, row=None, rows=None):
    form = {"type": "row", "rows": {"key": {"id": "bigint"}, "columns": rows or ["tags"]}}
    source = ApiSource.model_validate(
        {
            "name": "rows", "form": form, "endpoint": {"base_url": "http://api"} | endpoint,
            "sink": {"table": "bronze/rows"}, "quality": {"description": "Rows."},
        }
    )  # fmt: skip
    request, _ = Renderer(source, source.endpoint.base_url).request(
        "1", partition_values(DAY), {"id": 1} | (row or {})
    )
    return request.url


NEXT = {"pagination": {"type": "next_url"}}


@pytest.mark.parametrize("habit", ["plain", "redirected", "spaces"])
def test_next_addresses_are_followed_as_servers_write_them(tmp_path, api, habit):
    found = walked(tmp_path, api, NEXT, f"/items/{habit}")
    assert [row["id"] for row in found] == list(range(1, 26))


def test_a_next_address_on_another_name_is_refused_or_kept_on_our_origin(tmp_path, api):
    failed = walked(tmp_path, api, NEXT | {"same_origin": "strict"}, "/items/elsewhere")
    assert "same_origin: path" in failed[-1]["error_message"]
    found = walked(tmp_path, api, NEXT | {"same_origin": "path"}, "/items/elsewhere")
    assert len(found) == 25
    assert len(walked(tmp_path, api, NEXT, "/items/elsewhere")) == 25, "its path is the one that was asked"


def test_the_key_stands_once_in_the_address(tmp_path, api, monkeypatch):
    monkeypatch.setenv("LIST_KEY", "secret-one-1")
    auth = {"type": "api_key", "key": "env:LIST_KEY", "place": "query", "name": "api_key"}
    found = walked(tmp_path, api, NEXT, "/items/key", auth=auth)
    assert len(found) == 25
    assert all(row["success"] for row in found)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://a/x?key=old&b=1", "http://a/x?b=1&key=new"),
        ("http://a/x?b=1&key=old&key=older", "http://a/x?b=1&key=new"),
        ("http://a/x?monkey=1", "http://a/x?monkey=1&key=new"),
        ("http://a/x", "http://a/x?key=new"),
    ],
)
def test_a_parameter_that_is_there_is_set_not_added(url, sent):
    known = Credentials("query", "key", Secret("new"))
    assert authorize(Request("1", "GET", url), known).url == sent


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://a/x?q=Zoë B", "http://a/x?q=Zo%C3%AB%20B"),
        ("http://a/x?q=a%20b&p=50%", "http://a/x?q=a%20b&p=50%25"),
        ("/x?filter[a]=1&f={b}|c", "/x?filter[a]=1&f=%7Bb%7D%7Cc"),
        ("http://a/x?q=%C3%AB+1", "http://a/x?q=%C3%AB+1"),
    ],
)
def test_what_may_not_stand_in_an_address_is_encoded(url, sent):
    assert encoded(url) == sent


def test_pages_may_stand_in_the_path(tmp_path, api):
    pages = {"pagination": {"type": "page", "size": 10}}
    assert len(walked(tmp_path, api, pages, "/list/{page.number}")) == 25
    assert api.calls == ["/list/1", "/list/2", "/list/3"]


def test_a_token_may_stand_in_a_header(tmp_path, api):
    endpoint = {"headers": {"X-Place": "{page.token|optional}"}}
    how = {"pagination": {"type": "cursor", "cursor": "next"}, "max_pages": 2}
    walked(tmp_path, api, how, endpoint=endpoint)
    assert [seen.get("X-Place") for seen in api.seen[:2]] == [None, "/items/plain?page=2"]
    assert all("cursor=" not in call for call in api.calls)


def test_a_list_in_the_query_comes_once_for_each_value(tmp_path, api):
    found = walked(
        tmp_path,
        api,
        {"key": {"id": "string"}},
        "/filtered",
        endpoint={"query": {"state": ["open", "on hold"]}},
    )
    assert [row["id"] for row in found] == ["open", "on hold"]
    assert json.loads(found[0]["request_params"]) == {"state": ["open", "on hold"]}


@pytest.mark.parametrize(
    ("query", "url"),
    [
        ({"a": ["1", "2"]}, "?a=1&a=2"),
        ({"a": [1, 2]}, "?a=1&a=2"),
        ({"a[]": ["x", "{partition.key}"]}, "?a%5B%5D=x&a%5B%5D=2026-10-05"),
        ({"a": "{row.tags}"}, "?a=p&a=q"),
        ({"a": "{row.tags|join:,}"}, "?a=p%2Cq"),
        ({"a": ["z", "{row.tags}"]}, "?a=z&a=p&a=q"),
        ({"a": []}, ""),
    ],
)
def test_lists_in_the_query(query, url):
    assert urls({"query": query}, {"tags": ["p", "q"]}) == f"http://api{url}"


@pytest.mark.parametrize(
    ("base", "row", "url"),
    [
        ("https://{row.host}", {"host": "a.example.com"}, "https://a.example.com/x"),
        ("https://{row.host}", {"host": "a.example.com:8443"}, "https://a.example.com:8443/x"),
        ("https://{row.shop}.example.com/v1/", {"shop": "blue-sky"}, "https://blue-sky.example.com/v1/x"),
        ("{row.base}", {"base": "https://a.example.com/api"}, "https://a.example.com/api/x"),
    ],
)
def test_a_row_may_name_its_own_address(base, row, url):
    assert urls({"base_url": base, "path": "/x"}, row, [*row]) == url


@pytest.mark.parametrize(
    ("base", "row"),
    [
        ("https://{row.host}", {"host": "evil.com/?x="}),
        ("https://{row.shop}.example.com", {"shop": "evil.com#"}),
        ("https://{row.shop}.example.com", {"shop": "me@evil.com/"}),
        ("{row.base}", {"base": "ftp://a.example.com"}),
        ("{row.base}", {"base": "https://user:pw@a.example.com"}),
        ("{row.base}", {"base": "https://elsewhere.org"}),
        ("{row.base}", {"base": None}),
    ],
)
def test_an_address_that_leads_elsewhere_is_a_failed_row(base, row):
    with pytest.raises(RenderError):
        urls({"base_url": base, "path": "/x", "hosts": ["*.example.com"]}, row, [*row])


def test_credentials_need_the_hosts_that_may_get_them():
    with pytest.raises(ValidationError, match=r"endpoint\.hosts"):
        ApiSource.model_validate(
            {
                "name": "rows",
                "form": {"type": "row", "rows": {"key": {"host": "string"}}},
                "endpoint": {"base_url": "https://{row.host}"},
                "auth": {"type": "bearer", "token": "env:T"},
                "sink": {"table": "bronze/rows"},
                "quality": {"description": "Rows."},
            }
        )


def test_deleted_items_say_so(tmp_path, api):
    found = walked(tmp_path, api, NEXT | {"deleted": {"field": "state", "value": "gone"}})
    assert [row["id"] for row in found if row["deleted"]] == [5, 10, 15, 20, 25]
