import json

import pytest

from asgard_assets.ingest.api.http.decoding import read_json
from asgard_assets.ingest.api.lists.content import Content, key_value
from asgard_assets.ingest.api.source.paths import whole
from asgard_assets.ingest.api.source.payload import Misfits, fit, merge, settled, shape
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.values.cursors import earlier, is_time, later
from asgard_assets.ingest.api.values.exact import dumps, suspect
from tests.fakes.lists import walked
from tests.ingest.api.sources import TICKETS, source


@pytest.mark.parametrize("number", ["18446744073709551617", "12345678901234.567891", "0.1234567890123456789", "-170141183460469231731687303715884105728", "1e400", "9007199254740993", "1.5"])  # fmt: skip
def test_numbers_come_out_as_they_were_sent(number):
    assert dumps(read_json(f'{{"a":[{number}]}}'.encode())) == f'{{"a":[{number}]}}'.encode()


@pytest.mark.parametrize(
    ("kind", "value", "column"),
    [("bigint", "7", 7), ("bigint", "0007", None), ("bigint", " 7", None), ("bigint", "1_000", None), ("bigint", 1.7, None),
     ("bigint", 2.0, 2), ("bigint", True, None), ("string", "0007", "0007"), ("integer", 2**31, None), ("double", 2**53 + 1, None), ("double", "1.5", 1.5)],
)  # fmt: skip
def test_two_keys_do_not_become_one(kind, value, column):
    config = source(TICKETS, form=TICKETS["form"] | {"key": {"id": kind}})
    assert Content(config, Redactor(), None).of_item({"id": value})["id"] == column


def test_what_a_column_would_round_is_rescued():
    misfits = Misfits()
    value = {"n": 2**53 + 1, "at": "2026-10-05T10:00:00.123456789Z", "ok": 5}
    assert fit(value, {"n": "double", "at": "timestamp", "ok": "double"}, misfits) == {
        "n": None,
        "at": None,
        "ok": 5.0,
    }
    assert misfits.values == {"n": 2**53 + 1, "at": "2026-10-05T10:00:00.123456789Z"}
    assert settled(merge(shape(2**53 + 1), shape(0.5))) == "json"
    assert settled(merge(shape(2**53 + 1), shape(1))) == "bigint"


def test_cursors_are_compared_by_type():
    assert later("2026-10-05T08:30:00+00:00", "2026-10-05T10:00:00+05:00") == "2026-10-05T08:30:00+00:00"
    assert later("2026-10-05T08:30:00.5Z", "2026-10-05T08:30:00.123456789Z") == "2026-10-05T08:30:00.5Z"
    assert later("9", "10") == "10"
    assert later("b", "a") == "b"


def test_an_overlap_is_written_as_the_cursor_is():
    assert earlier("2026-10-05T10:00:30Z", 60) == "2026-10-05T09:59:30Z"
    assert earlier("2026-10-05T10:00:30+05:00", 60) == "2026-10-05T09:59:30+05:00"
    assert earlier(100, 60) == 40
    assert earlier("abc", 60) == "abc"


def test_a_moment_from_the_future_does_not_move_the_cursor():
    told = walked(
        lambda _: [{"at": "2020-10-05T08:00:00Z"}, {"at": "2999-01-01T00:00:00Z"}],
        incremental={"field": "at"},
    )
    assert told.walk.cursor == "2020-10-05T08:00:00Z"
    assert "2999" in told.walk.notes[0]
    assert json.dumps(told.items)


def test_an_overlap_of_a_number_since_1970_is_in_its_unit():
    assert earlier(1_790_000_000, 60) == 1_789_999_940
    assert earlier(1_790_000_000_000, 60) == 1_789_999_940_000
    assert earlier("1790000000000", 60) == "1789999940000"
    assert [is_time(value) for value in (1_790_000_000.5, "2026-10-05T10:00:00Z", "2026-10-05", 17, "a1")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "number",
    [
        "1.10",
        "-12.500",
        "1e5",
        "1.5E+3",
        "2e-7",
        "-0",
        "0.00001",
        "0.000010",
        "100.00",
        "1.0",
        "7",
        "0.1",
        "-0.0",
        "10",
        "1E400",
    ],
)
@pytest.mark.parametrize(
    "around", ['{{"n":{},"at":"2026-10-05T10:00:00.000Z"}}', "[{}]", '{{"a": [1, {} ], "b": null}}']
)
def test_numbers_keep_the_digits_that_they_were_sent_with(number, around):
    text = around.format(number)
    told = dumps(read_json(text.encode())).decode()
    assert told.replace(" ", "") == text.replace(" ", "")
    assert dumps(read_json(text)) == dumps(read_json(text.encode()))


def test_bodies_of_plain_numbers_are_read_the_fast_way():
    plain = {
        "at": "2026-10-05T10:00:00.120Z",
        "price": 12.5,
        "n": 100,
        "hash": "3e05a0e00",
        "text": "1.10",
        "date": "2026-10-05",
    }
    assert not suspect(json.dumps([plain] * 3).encode())


def test_a_number_in_its_own_digits_is_a_key_a_count_and_a_cursor():
    item = read_json(b'{"id": 100.00, "price": 1.10, "total": 3e0}')
    assert [key_value(kind, item["id"]) for kind in ("bigint", "double", "string")] == [100, 100.0, "100.00"]
    assert key_value("bigint", item["price"]) is None
    assert whole(item["total"]) == 3
    told = walked(lambda _: b'[{"at": 1.10}, {"at": 1.50}]', incremental={"field": "at"})
    assert told.walk.cursor == "1.50"
