"""A walk is complete or it is an error; a list that is complete is none."""

import json

import pytest

from tests.fakes.lists import ids, rows, walked

AUTO = {"pagination": {"type": "auto"}}
FIRST = rows(30)

MORE = {
    "a token under a name nobody knows": {"offset": "itr7/rec9"},
    "a bookmark": {"bookmark": "b64=="},
    "a continuation in the section `meta`": {"meta": {"continuation": "xyz"}},
    "a token as an object": {"LastEvaluatedKey": {"id": {"S": "9"}}},
    "a next page as an object": {"next_page": {"number": 2}},
    "a next page as a number": {"meta": {"nextPageNumber": 2}},
    "a token as a number": {"next_start": 30},
    "a cursor two levels down": {"paging": {"next": {"after": "30"}}},
    "a resume token": {"resumeToken": "r1"},
    "a relative next address": {"links": {"next": "items?page=2"}},
    "links with a relation": {"links": [{"relation": "self", "url": "/items"}, {"relation": "next", "url": "/items?page=2"}]},
    "rel and href": {"_links": [{"rel": "next", "href": "/items?page=2"}]},
    "a flag that is false on all pages but the last": {"last": False},
    "isLast": {"isLast": False},
    "end_of_stream": {"end_of_stream": False},
    "done": {"done": False},
    "has_more as text": {"has_more": "true"},
    "hasMore in a section": {"pageInfo": {"hasNextPage": True}},
    "truncated": {"IsTruncated": True},
    "a total": {"total": 75},
    "a total as text": {"total": "75"},
    "totalSize": {"totalSize": 75},
    "numberMatched": {"numberMatched": 75},
    "numFound": {"numFound": 75},
    "recordsFiltered": {"recordsFiltered": 75},
    "@odata.count": {"@odata.count": 75},
    "a total as an object": {"total": {"value": 75, "relation": "eq"}},
    "a total that is a lower bound": {"total": {"value": 30, "relation": "gte"}},
    "a page count": {"total_pages": 3},
    "a page count as text": {"meta": {"pageCount": "3"}},
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_auto_never_takes_one_page_for_all_where_the_answer_speaks_of_more(name):
    """The list ignores whatever is sent: a guess that is wrong shows."""
    told = walked(lambda _: {"data": FIRST, **MORE[name]}, **AUTO, key={"id": "bigint"})
    assert told.error, told.walk.found
    assert len(told.asked) <= 2


@pytest.mark.parametrize("name", MORE)
def test_a_declared_single_page_is_checked_too(name):
    told = walked(lambda _: {"data": FIRST, **MORE[name]}, items="data")
    assert "form.pagination" in told.error
    assert "form.expect: {ignore: [" in told.error
    key = told.error.split("`")[1]
    assert not walked(lambda _: {"data": FIRST, **MORE[name]}, items="data", expect={"ignore": [key]}).error
    assert not walked(lambda _: {"data": FIRST, **MORE[name]}, items="data", expect={"complete": False}).error


HEADERS = {
    "X-Continuation-Token": "60",
    "X-Next-Page": "2",
    "Next-Page": "2",
    "X-Next-Cursor": "abc",
    "X-Total-Count": "75",
    "X-Total": "75",
    "X-WP-Total": "75",
    "X-Total-Pages": "3",
    "Content-Range": "items 0-29/75",
    "X-Has-More": "true",
    "X-Pagination": '{"TotalCount": 75, "HasNext": true}',
    "X-MS-Continuation": None,
}


@pytest.mark.parametrize("name", [name for name, value in HEADERS.items() if value])
def test_headers_speak_of_more(name):
    told = walked(lambda _: (200, {name: HEADERS[name]}, FIRST), **AUTO)
    assert "form.pagination" in told.error
    assert name.lower() in told.error.lower()


def test_a_partial_answer_is_not_the_whole():
    assert "206" in walked(lambda _: (206, {}, FIRST), **AUTO).error
    assert not walked(lambda _: (206, {"Content-Range": "0-29/30"}, FIRST), **AUTO).error


def test_a_page_that_is_as_full_as_was_asked_for_may_not_be_the_last():
    assert "`limit` is 30" in walked(lambda _: FIRST, query={"limit": "30"}, **AUTO).error
    assert not walked(lambda _: FIRST, query={"limit": "50"}, **AUTO).error


COMPLETE = {
    "a plain list": FIRST,
    "a list in an object": {"data": FIRST},
    "a total that is the number of items": {"data": FIRST, "total": 30},
    "as text": {"data": FIRST, "total": "30", "count": "30"},
    "one page of one": {"data": FIRST, "page": 1, "total_pages": 1, "per_page": 50},
    "has_more is false": {"data": FIRST, "has_more": False},
    "has_more is the text false": {"data": FIRST, "has_more": "false"},
    "next is null": {"data": FIRST, "next": None, "previous": None},
    "an empty next": {"data": FIRST, "next_cursor": "", "paging": {"next": {}}},
    "a token of 0": {"data": FIRST, "next_cursor": 0},
    "a token of -1": {"data": FIRST, "nextOffset": -1},
    "the last page is said": {"data": FIRST, "last": True, "isLast": True},
    "an end cursor without a next page": {"data": FIRST, "pageInfo": {"endCursor": "abc", "hasNextPage": False}},
    "only a start cursor": {"data": FIRST, "pageInfo": {"startCursor": "abc", "hasPreviousPage": False}},
    "a sync token": {"data": FIRST, "nextSyncToken": "s1"},
    "a delta link": {"data": FIRST, "@odata.deltaLink": "https://api.test/items?delta=1"},
    "links without next": {"data": FIRST, "links": [{"rel": "self", "href": "/items"}]},
    "the address of this page": {"data": FIRST, "self": "/items", "first_page_url": "/items?page=1"},
    "other tokens": {"data": FIRST, "access_token": "abc", "csrf_token": "def", "request_id": "r1"},
    "a moment": {"data": FIRST, "next_update": "2026-10-06T00:00:00Z", "next_run_at": 5, "timestamp": 1},
    "a sum of money": {"data": FIRST, "total": 199.99, "total_amount": 5000},
    "an offset of 0": {"data": FIRST, "offset": 0, "limit": 50, "total": 30},
    "a page number": {"data": FIRST, "page": 1, "pageSize": 50},
    "a page's title": {"data": FIRST, "page_title": "Things", "landing_page": "https://x.test"},
    "an item's tokens": {"data": rows(30, next_page_token="x", has_more=True, total=99)},
    "a neighbour's paging": {"data": FIRST, "user": {"name": "a", "items": [{"id": 1}], "total": 99}},
    "a spring page": {"content": FIRST, "number": 0, "size": 50, "totalElements": 30, "totalPages": 1, "last": True, "first": True},
    "search hits": {"hits": {"total": {"value": 30, "relation": "eq"}, "hits": FIRST}},
    "nothing": {"data": []},
    "nothing of nothing": {"data": [], "total": 0, "total_pages": 0},
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_list_is_green(name):
    told = walked(lambda _: COMPLETE[name], **AUTO, key={"id": "bigint"})
    assert (told.error, len(told.asked)) == ("", 1), told.walk.found


@pytest.mark.parametrize(
    "name", ["X-Next-Page", "X-Continuation-Token", "X-CSRF-Token", "X-Total-Count", "X-Page-Id"]
)
def test_headers_that_say_nothing_are_green(name):
    value = {"X-CSRF-Token": "abc", "X-Total-Count": "30", "X-Page-Id": "p9"}.get(name, "")
    assert not walked(lambda _: (200, {name: value}, FIRST), **AUTO).error


# Tokens under other names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "param"),
    [("offset", "offset"), ("next_page", "page"), ("nextStart", "start"), ("bookmark", "bookmark"), ("continuationKey", "continuationKey")],
)  # fmt: skip
def test_a_token_is_sent_back_under_the_name_that_its_key_has(name, param):
    def answer(sent):
        start = int(sent.get(param, 0))
        more = {name: start + 25} if start < 75 else {}
        return {"data": rows(100)[start : start + 25], **more}

    told = walked(answer, **AUTO, key={"id": "bigint"})
    assert (told.error, ids(told)) == ("", list(range(1, 101)))


def test_page_info_beside_a_named_list_is_followed():
    def answer(sent):
        start = int(sent.get("variables.after", 0))
        info = {"endCursor": str(start + 30), "hasNextPage": start + 30 < 80}
        return {"data": {"team": {"issues": {"nodes": rows(80)[start : start + 30], "pageInfo": info}}}}

    assert len(walked(answer, method="POST", items="data.team.issues.nodes", **AUTO).items) == 80
    assert "page 2" in walked(answer, method="GET", items="data.team.issues.nodes", **AUTO).error


@pytest.mark.parametrize("rel", ["rel", "relation"])
@pytest.mark.parametrize("address", ["href", "url"])
def test_links_with_relations_are_followed(rel, address):
    def answer(sent):
        start = int(sent.get("start", 0))
        links = [{rel: "self", address: "/items"}]
        if start + 10 < 35:
            links.insert(0, {rel: "next", address: f"/items?start={start + 10}"})
        return {"features": rows(35)[start : start + 10], "links": links, "numberMatched": 35}

    assert len(walked(answer, **AUTO).items) == 35
    how = {"type": "next_url", "url": f"links[{rel}=next].{address}"}
    assert len(walked(answer, items="features", pagination=how).items) == 35


def test_a_cursor_in_a_header_can_be_declared():
    def answer(sent):
        start = int(sent.get("from", 0))
        return 200, {"X-Next": str(start + 40)} if start + 40 < 100 else {}, rows(100)[start : start + 40]

    how = {"type": "cursor", "header": "x-next", "param": "from"}
    assert len(walked(answer, pagination=how).items) == 100


# Pages and offsets -----------------------------------------------------------------------------------------


def paged(items, cap=1000, size_param="per_page", param="page", start=1, wrap=None):
    def answer(sent):
        size = min(cap, int(sent.get(size_param, cap)))
        number = int(sent.get(param, start)) - start
        return items[number * size : (number + 1) * size]

    return answer


PAGE = {"pagination": {"type": "page", "size": 100}, "key": {"id": "bigint"}}


@pytest.mark.parametrize("cap", [1, 7, 30, 50, 99, 100])
def test_an_api_that_gives_fewer_than_asked_for_is_read_to_the_end(cap):
    told = walked(paged(rows(230), cap), **PAGE)
    assert (told.error, ids(told)) == ("", list(range(1, 231)))


def test_a_size_that_was_honoured_lets_a_short_page_end_the_walk():
    assert len(walked(paged(rows(230)), **PAGE).asked) == 3
    assert len(walked(paged(rows(7)), **PAGE).asked) == 2


@pytest.mark.parametrize("status", [404, 416, 400, 422])
def test_a_page_past_the_end_may_be_refused(status):
    def answer(sent):
        found = paged(rows(70), cap=50)(sent)
        return found if found else (status, {}, {"error": "no such page"})

    assert len(walked(answer, **PAGE).items) == 70


def test_a_refused_page_is_an_error_where_there_is_more():
    def answer(sent):
        return {"data": rows(100), "total": 300} if sent["page"] == "1" else (404, {}, {})

    assert walked(answer, items="data", **PAGE).error == "status 404"
    assert walked(lambda s: rows(100) if s["page"] == "1" else (400, {}, {}), **PAGE).error == "status 400"


@pytest.mark.parametrize("more", [{"pages": 5}, {"pages": "5"}, {"has_more": True}, {"total": 140}])
def test_an_empty_page_in_the_middle_is_passed(more):
    parts = [rows(40), [{"id": n} for n in range(41, 81)], [], [{"id": n} for n in range(121, 161)], [{"id": n} for n in range(161, 181)]]  # fmt: skip

    def answer(sent):
        number = int(sent["page"])
        told = {"has_more": number < 5} if "has_more" in more else more
        return {"data": parts[number - 1] if number <= 5 else [], **told}

    told = walked(answer, items="data", pagination={"type": "page", "size": 40}, key={"id": "bigint"})
    assert (told.error, len(told.items)) == ("", 140)


@pytest.mark.parametrize("style", ["page", "offset"])
def test_an_empty_page_though_the_total_says_more_is_an_error(style):
    def answer(sent):
        first = sent.get("page") == "1" or sent.get("offset") == "0"
        return {"data": rows(50) if first else [], "total": 120}

    told = walked(answer, items="data", pagination={"type": style, "size": 50})
    assert "10 pages in a row" in told.error or "`total` is 120" in told.error


@pytest.mark.parametrize("field", ["pages", "total", "more", "last", "cursor", "url"])
def test_a_misspelt_path_is_no_end(field):
    style = {
        "pages": "page",
        "total": "offset",
        "more": "page",
        "last": "page",
        "cursor": "cursor",
        "url": "next_url",
    }[field]

    def answer(sent):
        return {"data": rows(30), "meta": {"next_token": "30", "next": "/items?x=2", "pages": 3, "total": 90, "has_more": True}}  # fmt: skip

    how = {"type": style, field: "meta.misspelt"}
    assert walked(answer, items="data", pagination=how, key={"id": "bigint"}).error


def test_a_path_that_is_in_no_answer_is_noted_where_nothing_speaks_of_more():
    told = walked(lambda _: {"data": rows(3)}, items="data", pagination={"type": "cursor", "cursor": "nxt"})
    assert (told.error, len(told.walk.notes)) == ("", 1)
    assert "`nxt`" in told.walk.notes[0]


@pytest.mark.parametrize("key", [{}, {"id": "bigint"}])
@pytest.mark.parametrize(
    "how", [{"type": "page", "size": 30}, {"type": "offset", "size": 30}, {"type": "cursor"}]
)
def test_a_parameter_that_the_api_does_not_know_shows_on_the_second_page(how, key):
    numbers = iter(range(100))
    told = walked(
        lambda _: {"data": FIRST, "next_cursor": f"t{next(numbers)}"}, items="data", pagination=how, key=key
    )
    assert "page 2 has the items of a page before it" in told.error or "next_cursor" in told.error
    assert len(told.asked) <= 3


def test_the_last_page_that_comes_again_is_the_end():
    def answer(sent):
        return rows(40)[10 * (min(4, int(sent["page"])) - 1) :][:10]

    told = walked(answer, pagination={"type": "page", "size": 10}, key={"id": "bigint"})
    assert (told.error, len(told.items), len(told.asked)) == ("", 40, 5)
    assert (
        len(walked(lambda _: rows(7), pagination={"type": "page", "size": 10}, key={"id": "bigint"}).items)
        == 7
    )
    assert "page before" in walked(answer, pagination={"type": "page", "size": 10}).error


def scim(sent):
    start = max(1, int(sent.get("startIndex", 1)))
    part = rows(120)[start - 1 :][: int(sent.get("count", 40))]
    return {"Resources": part, "totalResults": 120, "startIndex": start, "itemsPerPage": len(part)}


def test_an_offset_may_count_from_one():
    how = {
        "type": "offset",
        "param": "startIndex",
        "size_param": "count",
        "size": 40,
        "total": "totalResults",
    }
    assert ids(walked(scim, items="Resources", pagination=how)) == list(range(1, 121)), "its answers say so"
    assert ids(walked(scim, items="Resources", pagination=how, key={"id": "bigint"})) == list(range(1, 121))
    assert ids(walked(scim, items="Resources", pagination=how | {"start": 1})) == list(range(1, 121))
    assert ids(walked(scim, items="Resources", **AUTO)) == list(range(1, 121))


def test_a_window_of_results_is_not_the_list():
    def answer(sent):
        start = int(sent["offset"])
        return {"data": [{"id": n} for n in range(start, min(start + 1000, 10_000))]}

    how = {"type": "offset", "size": 1000}
    assert "10000 items" in walked(answer, items="data", pagination=how).error
    told = walked(lambda s: answer(s) | {"n": 10_000}, items="data", pagination=how, expect={"total": "n"})
    assert (told.error, len(told.items)) == ("", 10_000)
    assert not walked(answer, items="data", pagination=how, expect={"window": None}).error
    assert "5000 items" in walked(lambda s: {"data": answer(s)["data"] if int(s["offset"]) < 5000 else []}, items="data",
                                  pagination=how, expect={"window": 5000}).error  # fmt: skip
    ends = walked(lambda s: answer(s) | {"has_more": int(s["offset"]) < 9000}, items="data", pagination=how)
    assert (ends.error, len(ends.items)) == ("", 10_000), "a flag confirms it"


@pytest.mark.parametrize("change", ["gone", "new"])
def test_a_list_that_moves_is_read_twice(change):
    items, calls = rows(60), []

    def answer(sent):
        calls.append(1)
        if len(calls) == 2:
            items.insert(0, {"id": 99}) if change == "new" else items.pop(0)
        start = int(sent["offset"])
        return {"data": items[start : start + 20], "total": len(items)}

    told = walked(
        answer,
        items="data",
        pagination={"type": "offset", "size": 20, "total": "total"},
        key={"id": "bigint"},
    )
    assert not told.error
    assert {item["id"] for item in items} <= set(ids(told))
    assert "read twice" in told.walk.notes[0]


# Ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [0, "0", -1, "-1", False, None, ""])
def test_tokens_that_mean_the_end(end):
    told = walked(
        lambda s: {"data": rows(2), "next_cursor": end if "cursor" in s else "b"},
        items="data",
        pagination={"type": "cursor"},
    )
    assert told.error == "" or "page 2" in told.error
    assert len(told.asked) == 2


def test_an_end_of_its_own_can_be_said():
    def answer(sent):
        return {"data": [{"id": len(sent)}], "next_cursor": "END" if sent else "b"}

    assert not walked(answer, items="data", pagination={"type": "cursor", "end": ["END"]}).error


@pytest.mark.parametrize(
    ("no", "yes"), [(False, True), ("false", "true"), ("0", "1"), (0, 1), ("no", "yes"), ("", "Y")]
)
@pytest.mark.parametrize("style", ["page", "offset", "cursor"])
@pytest.mark.parametrize("flag", ["more", "last"])
def test_a_flag_ends_any_walk_in_both_senses_and_as_text(style, flag, no, yes):
    def answer(sent):
        place = int(sent.get("page", 1)) - 1 if style != "offset" else int(sent["offset"]) // 20
        ends = place >= 2
        if place > 2:
            return 400, {}, {}
        says = (yes if ends else no) if flag == "last" else (no if ends else yes)
        return {"rows": rows(60)[place * 20 :][:20], "flag": says, "next_cursor": str(place + 2)}

    how = {"type": style, flag: "flag"} | ({"param": "page"} if style == "cursor" else {"size": 20})
    told = walked(
        answer, items="rows", pagination=how, key={"id": "bigint"}, expect={"ignore": ["next_cursor"]}
    )
    assert (told.error, len(told.items)) == ("", 60)


def test_a_flag_that_is_none_is_an_error():
    told = walked(
        lambda _: {"data": FIRST, "more": "perhaps"},
        items="data",
        pagination={"type": "page", "more": "more"},
    )
    assert "'perhaps'" in told.error


def test_an_address_that_is_always_there_ends_with_a_short_page():
    calls = [{"id": i, "at": 1000 + i // 3} for i in range(1, 100)]

    def answer(sent):
        part = [call for call in calls if call["at"] >= int(sent.get("since", 0))][:40]
        return {"calls": part, "count": len(part), "next_page": f"/items?since={part[-1]['at']}"}

    told = walked(
        answer, items="calls", pagination={"type": "next_url", "url": "next_page"}, key={"id": "bigint"}
    )
    assert (told.error, len(ids(told))) == ("", 99)
    calls.extend({"id": 100 + i, "at": 2000} for i in range(60))
    told = walked(
        answer, items="calls", pagination={"type": "next_url", "url": "next_page"}, key={"id": "bigint"}
    )
    assert "was read before" in told.error


def test_the_last_id_needs_no_flag():
    def answer(sent):
        return [row for row in rows(70) if row["id"] > int(sent.get("after", 0))][:20]

    how = {"type": "cursor", "param": "after", "last_item": "id"}
    assert len(walked(answer, pagination=how).items) == 70
    inclusive = walked(
        lambda s: [row for row in rows(70) if row["id"] >= int(s.get("after", 0))][:20],
        pagination=how,
        key={"id": "bigint"},
    )
    assert (inclusive.error, len(ids(inclusive))) == ("", 70)


def test_pages_without_items_do_not_go_on_for_ever():
    numbers = iter(range(10_000))
    told = walked(
        lambda _: {"data": [], "next_cursor": f"t{next(numbers)}"},
        items="data",
        pagination={"type": "cursor"},
    )
    assert "form.max_empty_pages" in told.error
    assert len(told.asked) == 10


@pytest.mark.parametrize("value", [{"n": 20}, [1, 2], True])
def test_a_token_that_is_no_text_goes_as_json(value):
    told = walked(
        lambda s: {"data": [len(s)], "next_cursor": value if not s else None},
        items="data",
        pagination={"type": "cursor"},
    )
    assert json.loads(told.asked[1]["cursor"]) == value


@pytest.mark.parametrize("path", ["total", "header:X-Total-Count"])
def test_an_expected_total_is_held_to(path):
    def answer(count):
        return lambda _: (200, {"X-Total-Count": str(count)}, {"data": FIRST, "total": count})

    assert not walked(answer(30), items="data", expect={"total": path}).error
    assert "29" in walked(answer(29), items="data", expect={"total": path}).error
    assert "no number" in walked(lambda _: {"data": FIRST}, items="data", expect={"total": path}).error


def test_a_list_in_another_place_is_named_in_the_error():
    for form in ({}, {"items": "dat"}):
        told = walked(lambda _: {"meta": {"page": 1}, "result": {"data": rows(3)}}, **form)
        assert "`result.data`" in told.error and "form.items" in told.error


def test_the_name_of_a_value_does_not_give_way_to_a_field_of_its_own():
    def told(value):
        return walked(lambda _: {"rates": {"C1": {"code": value, "rate": 1}}}, items="rates", map_key="code")

    assert "form.map_key" in told("x").error
    assert told("C1").items == [{"code": "C1", "rate": 1}]
