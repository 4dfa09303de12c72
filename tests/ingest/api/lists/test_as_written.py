"""Lists that say by themselves what their source does not: offsets from 1, items in an object, a server's own name."""

from __future__ import annotations

import pytest

from tests.fakes.lists import rows, walked

ALL = rows(120)
OFFSETS = {
    "items": "found.users",
    "pagination": {
        "type": "offset",
        "param": "first",
        "size_param": "count",
        "size": 40,
        "total": "found.of",
    },
}


def counting_from_one(query: dict[str, str], echo: bool, clamp: bool = True) -> dict:
    """Three pages of users, `first` counted from 1; 0 is read as 1, or finds nothing."""
    first, size = int(query.get("first", 1)), int(query.get("count", 40))
    first = max(1, first) if clamp else first
    part = ALL[first - 1 : first - 1 + size] if first else []
    return {"found": {"users": part, "of": len(ALL), **({"first": first} if echo else {})}}


@pytest.mark.parametrize("key", [{}, {"id": "bigint"}])
@pytest.mark.parametrize(
    ("echo", "clamp", "requests"), [(True, True, 3), (False, True, 4), (False, False, 4)]
)
def test_offsets_that_count_from_one_are_understood(key, echo, clamp, requests):
    told = walked(lambda query: counting_from_one(query, echo, clamp), **OFFSETS, key=key)
    assert not told.error
    assert told.items == ALL
    assert len(told.asked) == requests
    assert told.walk.notes == []


def test_an_offset_that_counts_from_zero_stays_so():
    def page(query):
        first = int(query["first"])
        return {"found": {"users": ALL[first : first + 40], "of": 120, "first": first}}

    told = walked(page, **OFFSETS)
    assert (told.items, told.error, len(told.asked)) == (ALL, "", 3)


def test_a_list_that_grows_at_its_head_is_not_taken_for_one_that_counts_from_one():
    new = [{"id": 0}]

    def page(query):
        first = int(query["first"])
        now = new * (first > 0) + ALL
        return {"found": {"users": now[first : first + 40], "of": len(now)}}

    told = walked(page, **OFFSETS, key={"id": "bigint"})
    assert {item["id"] for item in told.items} >= {item["id"] for item in ALL}


def test_an_object_whose_values_have_the_key_holds_the_items():
    body = {"rates": {f"C{n:02d}": {"rate": n / 4, "day": "2026-10-05"} for n in range(1, 13)}}
    told = walked(lambda _: body, items="rates", key={"rate": "double"})
    assert not told.error
    assert [item["map_key"] for item in told.items] == [f"C{n:02d}" for n in range(1, 13)]
    assert told.items[0]["rate"] == 0.25
    assert "form.map_key" in told.walk.notes[0]
    named = walked(lambda _: body, items="rates", key={"rate": "double"}, map_key="code")
    assert (named.items[0]["code"], named.walk.notes) == ("C01", [])


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"id": 1, "home": {"id": 2}}},
        {"data": {"error": {"message": "no"}}},
        {"data": {"a": {"id": 1}, "b": {"name": "x"}}},
        {"data": {"a": 1, "b": 2}},
        {"data": {}},
    ],
)
def test_an_object_that_may_be_one_item_or_an_error_is_refused(body):
    assert "form.map_key" in walked(lambda _: body, items="data", key={"id": "bigint"}).error
