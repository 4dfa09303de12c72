"""What an item says stays what it says; what a table cannot hold, and what looks like a loss, is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from asgard_assets.ingest.api.http.decoding import Undecodable, read_json
from asgard_assets.ingest.api.lists.content import Content
from asgard_assets.ingest.api.lists.pagination import Page
from asgard_assets.ingest.api.lists.walk import Walk
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.ingest.api.values import exact

LIST = {
    "name": "items",
    "kind": "changes",
    "form": {
        "type": "pull",
        "items": "data",
        "key": {"id": "string"},
        "incremental": {"field": "at", "start": "1970-01-01"},
    },
    "endpoint": {"base_url": "http://api", "query": {"since": "{cursor.value}"}},
    "sink": {"table": "bronze/items"},
    "quality": {"description": "Items."},
}
NOW = datetime(2026, 10, 7, tzinfo=UTC)


def content(secrets=(), **changes) -> Content:
    return Content(ApiSource.model_validate(LIST | changes), Redactor(secrets), None)


def test_half_of_a_surrogate_pair_is_kept_as_it_was_sent_beside_the_row():
    told = content()
    row = told.of_item(read_json(r'{"id": "a", "text": "caf\ud83d", "list": ["\udc00x"]}'))
    assert json.loads(row["payload"])["text"] == "caf\ufffd"
    assert r'text: "caf\ud83d"' in row["error_message"]
    assert r'list.0: "\udc00x"' in row["error_message"]
    assert row["error_message"].encode(), "a table can hold it"
    assert told.mended == 1


def test_a_replacement_letter_that_was_sent_is_no_half():
    row = content().of_item(read_json('{"id": "a", "text": "\ufffd", "emoji": "\\ud83d\\ude00"}'))
    assert "error_message" not in row
    assert json.loads(row["payload"])["emoji"] == "😀"


@pytest.mark.parametrize("text", ["1.10", "0.0", "-2.500", "1E5", "100.0", "12345678901234.567890"])
def test_numbers_that_are_read_exactly_keep_their_zeros(text):
    assert exact.dumps(exact.loads(f'{{"n":{text}}}')) == f'{{"n":{text}}}'.encode()


def test_a_secret_that_is_a_plain_word_changes_no_data():
    told = content(["orders"])
    rows = [told.of_item({"id": name}) for name in ("orders", "orders_2025", "reorders", "invoices")]
    assert [row["id"] for row in rows] == ["orders", "orders_2025", "reorders", "invoices"]
    assert (told.words, told.masked) == (3, 0)


def test_a_secret_that_is_no_word_is_taken_out_of_data():
    told = content(["s3cret-token", "abcdefghijklmnopqrstuvwxyz"])
    assert "s3cret" not in told.of_item({"id": "1", "echo": "Bearer s3cret-token"})["payload"]
    assert "abc" not in told.of_item({"id": "1", "echo": "abcdefghijklmnopqrstuvwxyz"})["payload"]
    assert told.masked == 2


def notes(began, *moments):
    form = ApiSource.model_validate(LIST).form
    walk = Walk(form, now=lambda: NOW, began=began)
    body = {"data": [{"id": str(n), "at": at} for n, at in enumerate(moments)]}
    walk.read(Page(0), "http://api/items", {}, json.dumps(body).encode())
    return walk.notes


def test_an_api_that_filters_after_the_cursor_is_noted():
    (note,) = notes("2026-10-05T10:00:30Z", "2026-10-05T10:00:31Z")
    assert "overlap_seconds" in note
    assert notes("2026-10-05T10:00:30Z", "2026-10-05T10:00:30Z", "2026-10-05T10:00:31Z") == []
    assert notes("17", "18") == [], "ids in order need no overlap"
    assert notes(None, "2026-10-05T10:00:31Z") == [], "the first run"


@pytest.mark.parametrize("name", ["overlap", "future_tolerance"])
def test_a_setting_without_its_unit_says_how_to_write_it(name):
    form = LIST["form"] | {"incremental": {"field": "at", name: "1m"}}
    with pytest.raises(ValueError, match=f"{name}_seconds: 60"):
        ApiSource.model_validate(LIST | {"form": form})


HALVES = {
    "a low half that bytes are shown as": rb'{"data": [{"id": "a", "text": "x\udc9a"}]}',
    "a high half": rb'{"data": [{"id": "a", "text": "\ud83d"}]}',
    "half of a pair in a name": rb'{"data": [{"id": "a", "x\ud800": 1}]}',
}


@pytest.mark.parametrize("name", HALVES)
def test_half_of_a_pair_in_any_place_is_mended(name):
    (item,) = read_json(HALVES[name])["data"]
    assert b"\xef\xbf\xbd" in exact.dumps(item) == exact.dumps(item, sort_keys=True)


def test_bytes_that_are_not_utf8_are_no_half_of_a_pair():
    with pytest.raises(Undecodable):
        read_json(b'{"data": [{"id": "\xe9"}]}')


def test_keys_with_half_of_a_pair_stay_two_keys():
    told = [content().of_item(item)["id"] for item in read_json(rb'[{"id": "\ud800"}, {"id": "\udfff"}]')]
    assert told == [r"\ud800", r"\udfff"]
