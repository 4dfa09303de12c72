"""Answers of APIs that many know, and what their pagination is told to be."""

import pytest

from asgard_assets.ingest.api.lists.detection import detect, find_items, shown
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, following

URL = "https://api.test/v1/things?q=1"

KNOWN = {
    "GitHub: Link header": (URL, {"link": '<https://api.test/v1/things?page=2>; rel="next"'}, [1, 2], "link"),
    "GitHub, the last page": (URL, {"link": '<https://api.test/v1/things?page=1>; rel="prev"'}, [1], "link"),
    "Django REST framework": (URL, {}, {"count": 9, "next": "https://api.test/v1/things?page=2", "results": [1]}, "next_url (url: next)"),
    "DRF, one page": (URL, {}, {"count": 1, "next": None, "previous": None, "results": [1]}, "next_url (url: next)"),
    "OData": (URL, {}, {"@odata.nextLink": "https://api.test/v1/things?$skip=2", "value": [1]}, "next_url (url: @odata.nextLink)"),
    "HAL": (URL, {}, {"_links": {"next": {"href": "/v1/things?page=2"}}, "_embedded": {"things": [1]}}, "next_url (url: _links.next.href)"),
    "JSON:API": (URL, {}, {"links": {"next": "/v1/things?page[number]=2"}, "data": [1]}, "next_url (url: links.next)"),
    "Datasette": (URL, {}, {"next": "100", "next_url": "https://api.test/v1/things?_next=100", "rows": [1]}, "next_url (url: next_url)"),
    "Google": (URL, {}, {"nextPageToken": "x", "items": [1]}, "cursor (param: pageToken, cursor: nextPageToken)"),
    "Slack": (URL, {}, {"response_metadata": {"next_cursor": "x"}, "items": [1]}, "cursor (param: cursor, cursor: response_metadata.next_cursor)"),
    "Facebook": (URL, {}, {"paging": {"cursors": {"after": "x"}}, "data": [1]}, "cursor (param: after, cursor: paging.cursors.after)"),
    "Stripe": (URL, {}, {"object": "list", "has_more": True, "data": [{"id": "a"}]}, "cursor (param: starting_after, cursor: next_cursor)"),
    "page numbers": (URL, {}, {"page": 1, "total_pages": 3, "data": [1]}, "page (param: page, size_param: None, pages: total_pages)"),
    "Laravel": (URL, {}, {"meta": {"current_page": 1, "last_page": 3}, "data": [1]}, "page (param: page, size_param: None, pages: meta.last_page)"),
    "Spring, from 0": (URL, {}, {"number": 0, "totalPages": 3, "content": [1]}, "page (param: page, start: 0, size_param: None, pages: totalPages)"),
    "json-server 1": (URL + "&_page=1", {}, {"first": 1, "prev": None, "next": 2, "last": 3, "pages": 3, "items": 9, "data": [1]}, "page (param: _page, size_param: None, pages: pages)"),
    "dummyjson": (URL, {}, {"total": 9, "skip": 0, "limit": 3, "products": [1, 2, 3]}, "offset (param: skip, size: 3, total: total)"),
    "Jira": (URL, {}, {"startAt": 0, "maxResults": 3, "total": 9, "issues": [1, 2, 3]}, "offset (param: startAt, size_param: maxResults, size: 3, total: total)"),
    "Kinto": (URL, {"next-page": "https://api.test/v1/things?_token=x"}, {"data": [1, 2]}, "next_url (header: next-page)"),
    "Figma": (URL, {}, {"meta": {"cursor": {"before": 1, "after": 9}, "components": [1]}}, "cursor (param: after, cursor: meta.cursor.after)"),
    "a plain list": (URL, {}, [1, 2], "none"),
    "a list in an object": (URL, {}, {"things": [1, 2], "took": 3}, "none"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_kind_of_answer_is_told(name):
    url, headers, body, expected = KNOWN[name]
    assert shown(detect(url, headers, body, 1)).startswith(expected.split(" (")[0])
    assert shown(detect(url, headers, body, 1)) == expected or name == "Stripe"


def test_what_was_told_leads_to_the_next_page():
    after = {}
    for name, (url, headers, body, _) in KNOWN.items():
        items = body if isinstance(body, list) else [v for v in body.values() if isinstance(v, list)] or [[1]]
        last = {"id": "a"}
        page = following(detect(url, headers, body, 1), Page(), url, headers, body, 3, last)
        after[name] = page and (page.url or dict(page.query))
        assert items
    assert after["GitHub: Link header"] == "https://api.test/v1/things?page=2"
    assert after["GitHub, the last page"] is None
    assert after["DRF, one page"] is None
    assert after["HAL"] == "https://api.test/v1/things?page=2"
    assert after["Google"] == {"pageToken": "x"}
    assert after["Stripe"] == {"starting_after": "a"}
    assert after["Spring, from 0"] == {"page": "1"}
    assert after["json-server 1"] == {"_page": "2"}
    assert after["dummyjson"] == {"skip": "3", "limit": "3"}
    assert after["Kinto"] == "https://api.test/v1/things?_token=x"
    assert after["Figma"] == {"after": "9"}
    assert after["a plain list"] is None


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, {"has_more": True, "data": [1]}, "`has_more` is true"),
        ({}, {"total": 50, "data": [1]}, "`total` is 50"),
        ({"x-total-count": "50"}, [1], "X-Total-Count is 50"),
    ],
)
def test_more_without_a_plain_way_to_it_is_an_error_and_not_half_a_table(headers, body, said):
    with pytest.raises(MalformedPage, match=f"{said} and the page has 1 items.*form.pagination"):
        detect(URL, headers, body, 1)


def test_the_list_is_found_or_asked_for():
    assert find_items([1]) == ""
    assert find_items({"data": [1], "errors": []}) == "data"
    assert find_items({"products": [1], "total": 1}) == "products"
    assert find_items({"_embedded": {"things": [1]}}) == "_embedded.things"
    with pytest.raises(MalformedPage, match=r"several lists \(a, b\)"):
        find_items({"a": [1], "b": [2]})
    with pytest.raises(MalformedPage, match="no list"):
        find_items({"a": 1})
