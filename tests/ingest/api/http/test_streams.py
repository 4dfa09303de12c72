"""Bodies that are read piece by piece have the same items as those that are read at once."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest

from asgard_assets.ingest.api.http.decoding import Oversized, Undecodable, decode
from asgard_assets.ingest.api.http.streams import items_of, json_items
from asgard_assets.ingest.api.source.decoders import Decode
from asgard_assets.ingest.api.source.paths import at

ROWS = [
    {"id": n, "text": 'a "quoted" ] } , [ { text é\\', "inner": {"list": [1, [2], {}], "none": None}}
    for n in range(300)
]
JSON = {"application": "x", "meta": {"data": [0], "note": 'a "key": ['}, "data": {"rows": ROWS}, "after": [1]}


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, whatever is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(7 if size is None or size < 0 or size > 7 else size)


def read(body: bytes, path: str = "", content: str = "", most: int = 1 << 20, **how: Any) -> list[Any]:
    return list(items_of(io.BytesIO(body), {"content-type": content}, Decode(**how), path, most))


@pytest.mark.parametrize("indent", [None, 2])
def test_the_list_at_a_path_is_found_whatever_stands_around_it(indent):
    body = json.dumps(JSON, indent=indent, ensure_ascii=False).encode()
    assert read(body, "data.rows") == ROWS
    assert [json.loads(item) for item in json_items(Trickle(body), "data.rows", 1 << 20)] == ROWS


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (ROWS, ""),
        ([], ""),
        ({"data": []}, "data"),
        ([1, "a,b", None, [1, 2], "]"], ""),
        ({"a": {"b": {"c": [1]}}}, "a.b.c"),
    ],
)
def test_other_lists(value, path):
    body = json.dumps(value).encode()
    assert read(body, path, "application/json") == at(value, path)
    assert [json.loads(item) for item in json_items(Trickle(body), path, 1 << 20)] == at(value, path)


def test_numbers_are_exact():
    (item,) = read(b'[{"id": 12345678901234567890123, "p": 0.1000000000000000055511151231257827}]')
    (same,) = decode({}, b'[{"id": 12345678901234567890123, "p": 0.1000000000000000055511151231257827}]')
    assert (repr(item["id"]), repr(item["p"])) == (repr(same["id"]), repr(same["p"]))


@pytest.mark.parametrize(
    "body", [b'[{"id": 1}, {"id": 2', b'{"data": [{"id": 1}', b'{"other": []}', b"{}", b'[{"a": "']
)
def test_what_is_cut_or_has_no_list_is_an_error(body):
    with pytest.raises(Undecodable):
        read(body, "data" if body[:1] == b"{" else "", "application/json")


def test_one_record_may_not_be_endless():
    with pytest.raises(Oversized):
        read(b'[{"a": "' + b"x" * (4 << 20) + b'"}]', most=1000)
    with pytest.raises(Oversized):
        read(b"x" * 5000, format="ndjson", most=1000)


@pytest.mark.parametrize("pack", [lambda body: body, gzip.compress])
def test_lines_and_csv_packed_or_not(pack):
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    assert read(pack(lines), format="ndjson") == ROWS
    text = "\ufeffid;name\r\n" + "".join(f'{n};"a ""b""\n{n}"\r\n' for n in range(50))
    assert read(pack(text.encode()), format="csv") == decode({}, text.encode(), Decode(format="csv"))
    latin = "id,name\n1,Zoë\n".encode("latin-1")
    assert read(pack(latin), format="csv", charset="latin-1") == [{"id": "1", "name": "Zoë"}]


def test_members_of_a_zip():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", "[1, 2]")
        archive.writestr("b.json", "[3]")
        archive.writestr("c.txt", "no")
    assert read(packed.getvalue(), member="*.json") == [1, 2, 3]


@pytest.mark.parametrize(
    "body", [b"<html><body>down</body></html>", b"\x1f\x8b cut", gzip.compress(b"[1, 2]")[:-9]]
)
def test_error_pages_and_broken_archives_are_errors(body):
    with pytest.raises(Undecodable):
        read(body)
