"""Bodies that are read piece by piece have the same items as those that are read at once."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
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


XML = (
    '<?xml version="1.0" encoding="ISO-8859-1"?><!-- x --><feed n="1"><title>entry</title><entry id="0"/>'
    + "".join(
        f"<entry id='{n}'><name>Zo\u00eb &amp; {n}</name><tag>a</tag><tag>b</tag><entry>in</entry></entry>"
        for n in range(1, 300)
    )
    + "<other><entry>not this</entry></other></feed>"
)


def test_the_elements_of_an_xml():
    body = XML.encode("latin-1")
    whole = at(decode({}, body), "feed.entry")
    assert read(body, "feed.entry") == whole
    assert whole[7] == {"@id": "7", "name": "Zo\u00eb & 7", "tag": ["a", "b"], "entry": "in"}
    assert read(gzip.compress(body), "feed.entry", format="xml") == whole
    assert read(b"<feed><entry>1</entry></feed>", "feed.entry") == ["1"], (
        "one does not show that there could be more"
    )


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"<feed><entry>1</entry><entry>", "feed.entry"),
        (b"<feed></feed>", "feed.entry"),
        (b"<feed><entry>1</entry></feed>", "feed.entri"),
        (b'<!DOCTYPE a [<!ENTITY b "x">]><a><c>&b;</c></a>', "a.c"),
    ],
)
def test_an_xml_that_is_cut_or_has_no_such_element_is_an_error(body, path):
    with pytest.raises(Undecodable):
        read(body, path, format="xml")


def test_a_list_that_may_be_absent_is_empty():
    for body in (b"<feed/>", b'{"other": [1, {"data": 2}], "n": "x"}'):
        assert list(items_of(io.BytesIO(body), {}, Decode(), "feed.entry", 1000, absent=True)) == []
    with pytest.raises(Undecodable):
        list(items_of(io.BytesIO(b'{"other": [1, {'), {}, Decode(), "data", 1000, absent=True))


def tar(mode: str = "w", **files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_of_a_tar(mode):
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    body = tar(
        mode, a_json=b"[1, 2]", b_ndjson=lines, c_json_gz=gzip.compress(b"[3]"), d_xml=b"<r><i>4</i></r>"
    )
    assert read(body, member="*.ndjson") == ROWS
    assert read(body, member="*.json*") == [1, 2, 3]
    assert read(body, "r.i", member="*.xml") == ["4"]
    with pytest.raises(Undecodable, match=r"no file named \*\.csv"):
        read(body, member="*.csv")
    with pytest.raises(Undecodable):
        read(tar("w", a_json=b"[" + b"1," * 9000 + b"2]")[:9000], member="*.json")


@pytest.mark.parametrize("form", ["xml", "tar"])
def test_memory_does_not_grow_with_the_body(form, tmp_path):
    element = b"<entry><name>" + b"x" * 200 + b"</name></entry>"
    place = tmp_path / "body"
    with place.open("wb") as file:
        if form == "xml":
            file.write(b"<feed>" + element * 100_000 + b"</feed>")
        else:
            with tarfile.open(fileobj=file, mode="w") as archive:
                for number in range(20):
                    entry = tarfile.TarInfo(f"{number}.ndjson")
                    content = (json.dumps({"name": "x" * 200}).encode() + b"\n") * 5_000
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    tracemalloc.start()
    with place.open("rb") as file:
        count = sum(1 for _ in items_of(file, {}, Decode(), "feed.entry" if form == "xml" else "", 1 << 20))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 100_000
    assert most < 8 << 20, "of a body of more than 20 MB"
    with place.open("rb") as file, pytest.raises(Oversized):
        huge = b"<feed><entry>" + b"x" * (4 << 20) + b"</entry></feed>"
        list(items_of(io.BytesIO(huge), {}, Decode(format="xml"), "feed.entry", 1000))


@pytest.mark.parametrize(
    "body", [b"<html><body>down</body></html>", b"\x1f\x8b cut", gzip.compress(b"[1, 2]")[:-9]]
)
def test_error_pages_and_broken_archives_are_errors(body):
    with pytest.raises(Undecodable):
        read(body)
