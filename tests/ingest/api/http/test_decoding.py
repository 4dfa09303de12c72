"""Bodies of all kinds: formats, packed files, charsets; and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile

import pytest

from asgard_assets.ingest.api.http.charsets import charset_of, decoded
from asgard_assets.ingest.api.http.decoding import Oversized, Undecodable, decode, read_json
from asgard_assets.ingest.api.source.decoders import Decode

ROWS = [{"id": "1", "name": "Zoë"}, {"id": "2", "name": 'a "b", c'}]
CSV = 'id,name\r\n1,Zoë\r\n2,"a ""b"", c"\r\n'.encode()
LINES = b'{"id": "1", "name": "Zo\xc3\xab"}\n\n{"id": "2", "name": "a \\"b\\", c"}\n'


def read(body, content_type="", most=1 << 20, **how):
    return decode({"content-type": content_type} if content_type else {}, body, Decode(**how), most)


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return out.getvalue()


def tarred(mode, **files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "how"),
    [
        (json.dumps(ROWS).encode(), "application/json", {}),
        (json.dumps(ROWS).encode(), "", {}),
        (json.dumps(ROWS).encode("utf-16"), "application/json; charset=utf-16", {}),
        (b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), "application/json", {}),
        (LINES, "application/x-ndjson", {}),
        (LINES, "application/jsonl", {}),
        (LINES, "text/plain", {"format": "ndjson"}),
        (LINES.replace(b"\n\n", b"\n"), "text/plain", {}),
        (b"".join(b"\x1e" + line + b"\n" for line in LINES.split(b"\n") if line), "application/json-seq", {}),
        (CSV, "text/csv; charset=utf-8", {}),
        (b"\xef\xbb\xbf" + CSV, "text/csv", {}),
        (CSV.decode().encode("latin-1"), "text/csv; charset=ISO-8859-1", {}),
        (CSV, "application/octet-stream", {"format": "csv"}),
        (CSV.replace(b",", b";").replace(b"; c", b", c"), "text/csv", {}),
        (CSV.replace(b",", b"\t").replace(b"\t c", b", c"), "text/tab-separated-values", {}),
        (gzip.compress(LINES), "application/gzip", {"format": "ndjson"}),
        (gzip.compress(LINES[:35]) + gzip.compress(LINES[35:]), "application/x-gzip", {"format": "ndjson"}),
        (zipped(a_csv=CSV), "application/zip", {}),
        (zipped(a_json=json.dumps(ROWS[:1]), b_ndjson=LINES.split(b"\n\n")[1]), "application/zip", {}),
        (zipped(a_csv=CSV, readme_txt="not data"), "application/zip", {"member": "*.csv"}),
        (tarred("w", a_csv=CSV), "application/x-tar", {}),
        (tarred("w:gz", a_csv=CSV), "application/gzip", {}),
        (zipped(a_json_gz=gzip.compress(json.dumps(ROWS).encode())), "application/zip", {}),
    ],
)  # fmt: skip
def test_the_same_records_in_every_form(body, content_type, how):
    assert read(body, content_type, **how) == ROWS


def test_xml_elements_become_objects():
    body = (
        b'<?xml version="1.0" encoding="ISO-8859-1"?><list total="2"><row id="1"><name>Zo\xeb</name></row>'
        b'<row id="2"><name><![CDATA[a "b", c]]></name><tag>x</tag><tag>y</tag><none/></row></list>'
    )
    found = read(body, "application/xml")["list"]
    assert found["@total"] == "2"
    assert found["row"] == [
        {"@id": "1", "name": "Zoë"},
        {"@id": "2", "name": 'a "b", c', "tag": ["x", "y"], "none": None},
    ]


def test_a_csv_without_a_header_names_its_columns_by_their_place():
    assert read(b"1;x\n2;y\n", format="csv", header=False) == [{"c1": "1", "c2": "x"}, {"c1": "2", "c2": "y"}]


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"id,name\n1\n", "text/csv", "record 2 of the CSV has 1 fields, not 2"),
        (b'id,name\n1,"x\n', "text/csv", "no CSV"),
        (b"id,id\n1,2\n", "text/csv", "names a column twice"),
        (b"<list><row></list>", "application/xml", "no XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "application/xml", "entities"),
        (b'{"a": 1', "application/json", "no JSON"),
        (b"", "application/json", "it is empty"),
        (b"<!doctype html><p>down</p>", "application/json", "but HTML"),
        (b"<html><p>down</p></html>", "text/html", "but HTML"),
        (gzip.compress(b"x" * 5000)[:-20], "application/gzip", "cut short"),
        (zipped(a_csv=CSV)[:-10], "application/zip", "cannot be unpacked"),
        (b'[{"a": "\xff\xfe\xfa"}]', "application/json", "no JSON"),
        (b"a,b\n\x81,1\n", "text/csv; charset=cp1252", "cannot be read"),
    ],
)
def test_what_is_cut_or_another_format_is_refused_in_words(body, content_type, says):
    with pytest.raises(Undecodable, match=says):
        read(body, content_type)


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda b: zipped(a_json=b), lambda b: tarred("w:gz", a_json=b)]
)
def test_a_packed_bomb_is_never_unpacked(pack):
    with pytest.raises(Oversized, match="max_body_bytes"):
        read(pack(b"0" * 5_000_000), most=1_000_000)


def test_letters_that_no_table_can_hold_do_not_cost_the_page():
    found = read_json(rb'{"cut": "a\ud83d", "whole": "\ud83d\ude00", "n": NaN, "i": -Infinity, "\udc00": 1}')
    assert found == {"cut": "a\ufffd", "whole": "\U0001f600", "n": "NaN", "i": "-Infinity", "\ufffd": 1}


@pytest.mark.parametrize(
    ("told", "body", "text", "unread"),
    [
        ("application/json; charset=ISO-8859-1", b"M\xfcnchen", "München", 0),
        ('text/csv; charset="windows-1252"', b"5 \x80", "5 €", 0),
        ("text/plain; charset=utf-8", b"M\xfcnchen", "M\ufffdnchen", 1),
        ("text/plain; charset=nonsense", "München".encode(), "München", 0),
        ("text/plain; charset=shift_jis", "日本".encode("shift_jis"), "日本", 0),
        ("text/xml", '<?xml version="1.0" encoding="cp1251"?>Й'.encode("cp1251"), None, 0),
        ("text/plain", "a".encode("utf-16"), "a", 0),
        ("application/json; charset=ascii", "München".encode(), "München", 0),
    ],
)
def test_the_charset_is_the_one_that_the_answer_names(told, body, text, unread):
    found = decoded(body, charset_of({"content-type": told}, body))
    assert found == (text or '<?xml version="1.0" encoding="cp1251"?>Й', unread)
