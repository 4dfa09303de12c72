"""What `auto` does not know by name, and does not pass over: it never says that a list has one page where anything suggests more."""

from __future__ import annotations

import pytest

from asgard_assets.ingest.api.lists.detection import detect
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, following, next_link
from asgard_assets.ingest.api.source.forms import NoPagination
from asgard_assets.ingest.api.source.paths import whole
from tests.fakes.lists import walked

URL = "http://api.example/items"
ROWS = [{"id": n, "seen": f"2026-10-{n % 28 + 1:02d}"} for n in range(1, 51)]
ODD = ROWS[:37]  # what is not likely to be a page

TOKENS = """
resumptionToken resumption_token since_id max_id last_key lastKey next_starting_after iterator nextIterator moreToken
nextCursorMark forward_cursor last_id lastId nextToken2 pageState paging_state $skiptoken anchor nextAnchor pagination_key
exclusiveStartKey startKey checkpoint next_checkpoint nxt olderThan resumeFrom hydra:next queryMore
""".split()
FLAGS = {
    "has_additional": True, "is_finished": False, "allLoaded": False, "partial": True, "limited": True, "limit_reached": True,
    "exceededTransferLimit": True, "endOfRecords": False, "nextPage": True, "isFinal": "no",
}  # fmt: skip
TOTALS = {
    "total": "1,250", "count": "1 250", "total_count": "250.0", "totalItems": "250 items", "nbHits": 250, "nbPages": 5,
    "result_count": 250, "available": 250, "remaining": 200, "itemsLeft": 3, "grand_total": 250, "of": 5, "pageTotal": 5,
    "max_page": 5, "pg_count": 5, "page": "1 of 5", "hydra:totalItems": 250, "anzahl": 250,
}  # fmt: skip
BODIES = {
    "the last item's id under any name": {"data": ROWS, "tail": 50},
    "an opaque text under any name": {"data": ROWS, "weiter": "eyJpZCI6NTB9"},
    "an address of the same list": {"data": ROWS, "forward": "/items?page=2"},
    "an address of the same list, elsewhere": {
        "data": ROWS,
        "result": {"set": {"onwards": f"{URL}?from=50"}},
    },
    "a total that is an object": {"data": ROWS, "total": {"count": 250}},
    "a total in an object of totals": {"data": ROWS, "meta": {"total": {"items": 250}}},
    "a total deep in the meta": {"data": ROWS, "meta": {"info": {"pagination": {"total": 250}}}},
    "the number of the last page": {"data": ROWS, "pagination": {"current": 1, "last": 5}},
}
HEADERS = {
    "X-Last-Id": "50", "Opc-Next-Page": "k2", "X-Nxt": "k2", "X-App-Pagination-Next-Token": "k2", "X-Result-Count": "250",
    "Pagination-Count": "250", "X-Pagination-Total": "250", "X-Pagination-Page-Count": "5", "X-Meta-Total": "250",
    "X-Total-Count": "1,250", "X-Item-Range": "0-49/250", "Content-Range": "0-49/*", "Range": "items 0-49 of 250",
    "X-Link": '</items?page=2>; rel="next"', "Pagination-Link": "</items?page=2>; rel=next", "Content-Next": "k2",
}  # fmt: skip


def refused(headers: dict[str, str], body: object, path: str = "data", items: int = 50) -> str:
    with pytest.raises(MalformedPage) as error:
        found = detect(URL, {name.lower(): text for name, text in headers.items()}, body, items, path)
        assert not isinstance(found, NoPagination), "it says that there is but one page"
        raise MalformedPage(f"{found.type} form.pagination")
    return error.value.message


@pytest.mark.parametrize("value", ["tk_50", 50])
@pytest.mark.parametrize("name", TOKENS)
def test_a_token_by_a_name_that_nobody_knows_is_followed_or_refused(name, value):
    assert "form.pagination" in refused({}, {"data": ROWS, name: value})


@pytest.mark.parametrize("name", FLAGS | TOTALS)
def test_a_flag_or_a_total_by_such_a_name_is_refused(name):
    assert "form.pagination" in refused({}, {"data": ROWS, name: (FLAGS | TOTALS)[name]})


@pytest.mark.parametrize("name", BODIES)
def test_what_suggests_more_by_its_value_or_place_is_refused(name):
    assert "form.pagination" in refused({}, BODIES[name])


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_by_such_a_name_is_refused(name):
    assert "form.pagination" in refused({name: HEADERS[name]}, {"data": ROWS})


def test_what_stands_beside_a_list_in_a_list_is_looked_at():
    assert "form.pagination" in refused({}, [{"page": 1, "pages": 5, "total": 250}, ROWS], "1")


WHOLE = {
    "the same total as text": {"data": ROWS, "total": "50", "version": "v1.2b3"},
    "a request's id": {"data": ROWS, "request_id": "req_8a7b6c5d", "trace": "00-4bf92f3577b34da6-01"},
    "its own address": {"data": ROWS, "links": {"self": "/items?page=1", "last": "/items?page=1"}},
    "an export's address": {"data": ROWS, "download": "/items?format=csv"},
    "a page of one": {"data": ROWS, "pg": 1, "of": 1, "last": 49},
    "nothing left": {"data": ROWS, "remaining": 0, "truncated": False, "complete": True},
    "figures": {
        "data": ROWS,
        "took_ms": 812,
        "status": 200,
        "quota_remaining": 297,
        "updated": "2026-10-05T10:00:00Z",
    },
    "the period": {"data": ROWS, "start_date": "2026-10-01", "end_date": ROWS[-1]["seen"], "currency": "EUR"},
    "a number of no page": {"data": ODD, "elevation": 412, "station": "KJFK01"},
    "the next change": {"data": ROWS, "next_update": "2026-10-06T00:00:00Z"},
    "the token of a session": {"data": ROWS, "access_token": "eyJpZCI6NTB9", "csrfToken": "a1b2c3d4"},
}
HEADERS_OF_ONE = {
    "x-request-id": "8a7b6c5d", "etag": '"50-a1"', "x-ratelimit-remaining": "4999", "x-nextjs-cache": "HIT",
    "content-range": "0-49/50", "server-timing": "total;dur=250", "x-total-count": "50", "retry-after": "120",
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_list_of_one_page_is_read(name):
    body = WHOLE[name]
    assert isinstance(detect(URL, {}, body, len(body["data"]), "data"), NoPagination)


def test_its_usual_headers_say_nothing():
    assert isinstance(detect(URL, HEADERS_OF_ONE, {"data": ROWS}, 50, "data"), NoPagination)


def test_what_means_something_else_can_be_said():
    body = {"data": ROWS, "weiter": "eyJpZCI6NTB9"}
    assert isinstance(detect(URL, {}, body, 50, "data", ignored=("weiter",)), NoPagination)


LINKS = {
    "a relation of several": [{"rel": ["next", "alternate"], "href": "/items?page=2"}],
    "names in capitals": [{"Rel": "self", "Href": "/items"}, {"Rel": "Next", "Href": "/items?page=2"}],
    "a name in place of a relation": [{"name": "next", "href": "/items?page=2"}],
    "a type in place of a relation": [{"type": "next", "url": "/items?page=2"}],
    "a link": [{"rel": "next", "link": "/items?page=2"}],
}


@pytest.mark.parametrize("name", LINKS)
def test_links_in_other_spellings_are_followed(name):
    body = {"data": ROWS, "links": LINKS[name]}
    found = detect(URL, {}, body, 50, "data")
    page = following(found, Page(), URL, {}, body, 50)
    assert page is not None and page.url == f"{URL}?page=2"


def test_a_relation_with_a_list_of_one_address_is_followed():
    body = {"data": ROWS, "_links": {"self": [{"href": "/items"}], "next": [{"href": "/items?page=2"}]}}
    assert detect(URL, {}, body, 50, "data").url == "_links.next.0.href"


def test_rows_that_are_named_next_are_no_links():
    body = {"data": [{"name": "next", "url": "https://next.example"}, *ROWS[:36]]}
    assert isinstance(detect(URL, {}, body, 37, "data"), NoPagination)


def test_a_link_header_in_single_quotes_is_read():
    assert next_link("</a>; rel='prev', </items?page=2>; rel='next'") == "/items?page=2"


def test_a_count_with_separators_is_a_number():
    counts = ["1,250", "1 250", "1\u202f250", "1'250", "1250.0", " 1250 ", 1250.0]
    assert [whole(text) for text in counts] == [1250] * 7
    assert [whole(text) for text in ["1,25", "1.25", "12,345,6", "-1", "1e3", ""]] == [None] * 6


def test_a_misspelt_token_by_a_name_that_nobody_knows_is_an_error():
    told = walked(
        lambda _: {"data": ROWS, "meta": {"weiter": "eyJpZCI6NTB9"}}, items="data",
        pagination={"type": "cursor", "param": "page", "cursor": "meta.weitr"},
    )  # fmt: skip
    assert "`meta.weitr`" in told.error and "meta.weiter" in told.error


def test_the_same_page_in_another_order_is_the_same_page():
    def shuffled(ask):
        return {"data": ROWS[::-1] if len(asked) % 2 else ROWS, "n": asked.append(ask)}

    asked: list[object] = []
    told = walked(shuffled, items="data", pagination={"type": "page", "size": 50})
    assert "has the items of a page before it" in told.error


def test_offsets_from_one_without_a_key_and_a_total_are_no_rows_twice():
    def answer(ask):
        at = max(int(ask["offset"]), 1)
        return {"data": ROWS[at - 1 : at + 9]}

    told = walked(answer, items="data", pagination={"type": "offset", "size": 10})
    assert "start: 1" in told.error
    whole_list = walked(answer, items="data", pagination={"type": "offset", "size": 10, "start": 1})
    assert (whole_list.error, whole_list.walk.items) == ("", 50)


def test_a_cursor_that_includes_its_own_item_needs_a_key():
    def answer(ask):
        at = max(int(ask.get("after", 0)) - 1, 0)
        page = ROWS[at : at + 20]
        return {"data": page, "last": str(page[-1]["id"])}

    form = {"items": "data", "pagination": {"type": "cursor", "param": "after", "last_item": "id"}}
    assert "form.key" in walked(answer, **form).error
    assert walked(answer, **form, key={"id": "bigint"}).error == ""
