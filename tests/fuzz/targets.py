"""What is fuzzed: each parser, template, header and answer that strangers fill. A target takes any bytes, and raises nothing but
what the platform turns into a row, a file in quarantine or a message."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from asgard_assets.documents import refuse_bombs
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.access.cookies import fresh_jar, keep_cookies
from asgard_assets.ingest.api.access.redirects import BadRedirect, Redirecting
from asgard_assets.ingest.api.http.charsets import charset_of, decoded
from asgard_assets.ingest.api.http.decoding import decode, read_json
from asgard_assets.ingest.api.http.messages import Oversized, Request, Response, Undecodable
from asgard_assets.ingest.api.http.streams import items_of
from asgard_assets.ingest.api.http.verdict import Judge
from asgard_assets.ingest.api.lists.detection import detect
from asgard_assets.ingest.api.lists.more import next_page_of
from asgard_assets.ingest.api.lists.pagination import MalformedPage, link_relations, stored
from asgard_assets.ingest.api.openapi.writing import propose
from asgard_assets.ingest.api.rate.quota import quota, retry_after
from asgard_assets.ingest.api.source.decoders import Decode
from asgard_assets.ingest.api.source.payload import Misfits, fit, merge, payload_type, settled, shape
from asgard_assets.ingest.api.source.secrets import Redactor, without_logins
from asgard_assets.ingest.api.source.templates import RenderError, Template
from asgard_assets.ingest.api.values import cursors, exact
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.landing.notices import read_notices
from asgard_assets.ingest.files.plan.listing import day_of
from asgard_assets.ingest.files.readers import how_to_read, read_file
from asgard_assets.ingest.files.source.formats import Auto
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.stream.changes import NoChangeError, change, row_key
from asgard_assets.operations.new.source import lists_of
from tests.ingest.files import samples

BASE = "https://api.example.com/v1/orders?page=1"
MOST = 1 << 22  # bytes that an answer may unpack to
SECRET = "canary-Token/9+x"
LIST = {"data": [{"id": 1, "at": "2026-10-05T00:00:00Z", "price": 12.50, "tags": ["a", None]}], "next": "/v1/orders?page=2"}  # fmt: skip
BODIES = (
    json.dumps(LIST).encode(),
    b'{"hits":{"total":{"value":"3"},"hits":[{"_id":"0007"}]},"_links":{"next":{"href":"?page=2"}}}',
    b'{"pageInfo":{"hasNextPage":true,"endCursor":"x"},"items":[1e400,-0,1.00000000000000000001,18446744073709551616]}',
    b'[{"a":"\\ud800"},{"a":null},{"a":[[[[]]]]}]',
    b'{"errors":[{"message":"THROTTLED"}],"data":null}',
    b"\xef\xbb\xbf{}", b"[NaN, Infinity, -Infinity]", b"<html><body>sorry</body></html>", "ключ".encode("cp1251"),
)  # fmt: skip
TABLES = (
    b"id,name\r\n1,\"a\nb\"\r\n2,x\r\n", b"id\tname\n1\tx\n", b'{"a":1}\n{"a":2}\n\n', b"\x1e{}\n\x1e[]\n",
    b'<?xml version="1.0"?><r><o id="1"><a>x</a></o><o/></r>', b'<!DOCTYPE r [<!ENTITY a "aa">]><r>&a;</r>',
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    slow: bool = False
    """Whether each input starts a process."""


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes, slow: bool = False) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    def taken(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[run.__name__] = Target(run, seeds, slow)
        return run

    return taken


def _words(data: bytes, *, at: bytes = b"\n") -> Iterator[str]:
    for part in data.split(at):
        yield part.decode("utf-8", "replace")


def _headers(data: bytes) -> dict[str, str]:
    """Lines `name: value`, as they come off the wire."""
    pairs = (line.partition(b":") for line in data.splitlines())
    return {n.strip().decode("latin-1").lower(): v.strip().decode("utf-8", "replace") for n, _, v in pairs}


# Answers ---------------------------------------------------------------------------------------------------


@target(*BODIES)
def json_values(data: bytes) -> None:
    """What is read is written as the same value, digit for digit."""
    with suppress(Undecodable):
        value = read_json(data)
        again = read_json(exact.dumps(value))
        assert exact.dumps(again) == exact.dumps(value)


def _packed() -> Iterator[bytes]:
    yield gzip.compress(TABLES[0], mtime=0)
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), TABLES[0])
        archive.writestr(zipfile.ZipInfo("b.jsonl.gz"), gzip.compress(TABLES[2], mtime=0))
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        info = tarfile.TarInfo("a.json")
        info.size = len(BODIES[0])
        tar.addfile(info, io.BytesIO(BODIES[0]))
    yield from (zipped.getvalue(), tarred.getvalue())


@target(*BODIES, *TABLES, *_packed())
def answers_of_any_format(data: bytes) -> None:
    """The first byte chooses the Content-Type, and whether the body is read at once or piece by piece."""
    told = ("", "application/json", "text/csv", "application/xml; charset=utf-16", "application/x-ndjson")
    headers = {"content-type": told[data[0] % len(told)] if data else ""}
    with suppress(Undecodable, Oversized):
        decode(headers, data[1:], most=MOST)
    with suppress(Undecodable, Oversized, MalformedPage):
        for _ in items_of(io.BytesIO(data[1:]), headers, Decode(stream=True), "data", MOST):
            pass


@target(b"text/html; charset=utf-8\n<meta charset=cp1252>\xe9", b'a; charset="utf-7"\n+AGE-', b"charset=idna\nx", b"charset=rot13\nx")  # fmt: skip
def charsets(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    text, unread = decoded(body, charset_of({"content-type": head.decode("latin-1")}, body))
    assert isinstance(text, str) and unread >= 0


@target(*BODIES, *(b'{"data":[{"id":1}],"%s":%s}' % pair for pair in [(b"has_more", b'"false"'), (b"nextPageToken", b'{"a":1}'), (b"total_pages", b"1e99"), (b"offset", b"-1"), (b"links", b'[{"rel":"next","href":"//other/x"}]')]))  # fmt: skip
def lists_and_their_next_pages(data: bytes) -> None:
    """`auto` understands it or refuses it with a sentence; a next page never leaves the origin."""
    with suppress(Undecodable):
        body = read_json(data)
        for path in ("", "data", "items", "hits.hits"):
            with suppress(MalformedPage):
                detect(BASE, {}, body, 1, path)
    next_page_of(200, {}, data, {})
    for text in _words(data, at=b'"'):
        with suppress(MalformedPage):
            page = stored(text, BASE)
            if page is not None and page.url is not None:
                assert page.url.startswith("https://api.example.com/"), page.url


@target(b"200\n" + BODIES[4], b"200\n" + BODIES[0], b"403\n{}", b"202\n", b"418\n<html>", b'200\n{"ok":false,"error":1}')  # fmt: skip
def verdicts(data: bytes) -> None:
    status, _, body = data.partition(b"\n")
    with suppress(ValueError):
        Judge().of(Response(100 + int(status[:3]) % 500, {"content-type": "application/json"}, body))


@target(*BODIES)
def typed_payloads(data: bytes) -> None:
    """What a schema that was told by one value makes of another: nothing is lost, and Arrow takes it."""
    import pyarrow as pa

    with suppress(Undecodable, RecursionError):
        value = read_json(data)
        one = value[0] if isinstance(value, list) and value else value
        told = settled(merge(shape(one), shape(value)))
        misfits = Misfits()
        pa.array([fit(value, told, misfits)], payload_type(told))
        exact.dumps(misfits.values)


@target(b"2026-10-05T00:00:00Z\n2026-10-05T02:00:00+02:00", b"0007\n7", b"1e400\n-0", b"9999-12-31T23:59:60Z\n\xd9\xa1")  # fmt: skip
def cursor_values(data: bytes) -> None:
    one, other, *_ = [*_words(data), "", ""]
    assert cursors.later(one, other) in (one, other)
    cursors.earlier(one, 3600)
    cursors.ahead(one, datetime.now(UTC), 60)


# Headers ---------------------------------------------------------------------------------------------------


@target(
    b"retry-after: 120", b"retry-after: Fri, 31 Dec 1999 23:59:59 GMT", b"ratelimit: limit=100, remaining=5, reset=10",
    b'ratelimit-policy: "a";q=100;w=60\nratelimit: "a";r=5;t=10', b"x-ratelimit-remaining: 0\nx-ratelimit-reset: 1e309",
    b"x-rate-limit-reset: 99999999999999999999999\nx-rate-limit-remaining: -1\ndate: x",
)  # fmt: skip
def limits_that_headers_tell(data: bytes) -> None:
    headers = _headers(data)
    wait = retry_after(headers, lambda: 1.0)
    assert wait is None or wait >= 0
    told = quota(headers, lambda: 1.0)
    assert told is None or told.reset is None or 0 <= told.reset <= 366 * 86400


@target(b'<https://a/?page=2>; rel="next", <x>; rel=last', b'<' * 500, b'<a>; title="\\"<"; rel="prev next"', b'<a>;;;rel="')  # fmt: skip
def link_headers(data: bytes) -> None:
    for text in _words(data):
        for address, relations in link_relations(text):
            assert address in text and all(name == name.lower() for name in relations)


@target(b"301\n//evil/x", b"302\n/x?y#z", b"307\nhttp://api.example.com:443/", b"303\njavascript:alert(1)", b"308\nhttps://[::1")  # fmt: skip
def redirects(data: bytes) -> None:
    """Nothing but the own origin is asked, whatever a Location says; and not for ever."""
    status, _, location = data.partition(b"\n")
    text, asked = location.decode("latin-1"), list[str]()

    async def send(request: Request) -> Response:
        asked.append(request.url)
        return Response(301 + (status[-1] if status else 0) % 8, {"location": text}, b"")

    layer = Redirecting(5, home="https://api.example.com/v1")
    with suppress(BadRedirect):
        asyncio.run(layer(Request("1", "GET", BASE, {"Authorization": SECRET}), send))
    assert len(asked) <= 6 and all(url.startswith("https://api.example.com") for url in asked), asked


@target(b"a=b; Max-Age=0", b"a=b; Expires=Wed, 21 Oct 2015 07:28:00 GMT\n=x; ;;", b"a=\x00b\r\nc=d", b"__Host-a=1;" * 50)  # fmt: skip
def cookies(data: bytes) -> None:
    async def walk() -> None:
        fresh_jar()
        for _ in range(2):
            await keep_cookies(Request("1", "GET", BASE), send)

    async def send(request: Request) -> Response:
        sent = request.headers.get("Cookie", "")
        assert "\n" not in sent and "\r" not in sent, "a header of its own"
        return Response(200, _headers(b"set-cookie: " + data) | {"set-cookie": data.decode("latin-1")}, b"")

    asyncio.run(walk())


# Templates, and what is shown ------------------------------------------------------------------------------


@target(b"/users/{row.id}/x\n7", b"/u/{row.id|date:%Y}\n2026-10-05", b"{{}}{row.a|json}\n{}", b"/{row.id}\n../../admin?x=1#y")  # fmt: skip
def templates(data: bytes) -> None:
    """A text is a template or is refused. A value stays in its place of the path."""
    from urllib.parse import quote

    text, value, *_ = [*_words(data), ""]
    with suppress(ValueError, RenderError):
        template = Template.parse(text)
        names = {name for root, name in template.fields if root == "row"}
        values: Any = {
            "row": dict.fromkeys(names, value),
            "partition": {},
            "cursor": {},
            "page": {},
            "job": {},
        }
        filled = template.render(values, lambda one: quote(one, safe=""))
        plain = template.render(values, lambda _: "x")
        assert [filled.count(sign) for sign in "/?#"] == [plain.count(sign) for sign in "/?#"]


@target(
    b'{"echo":"canary-Token/9+x"}', b"canary-Token%2F9%2Bx", b"Y2FuYXJ5LVRva2VuLzkreA==", b"\\u0063anary-Token\\/9+x",
    b"CANARY-TOKEN/9+X", b"?api_key=canary&x=1&access_token=2#",
)  # fmt: skip
def redaction(data: bytes) -> None:
    """A known secret is in nothing that is kept, as it is or in other case."""
    redactor = Redactor([SECRET])
    text = data.decode("utf-8", "replace")
    for clean in (redactor.text(text), redactor.data(text)):
        assert SECRET.lower() not in clean.lower()
    shown = without_logins(text)
    assert "=***" in shown or shown == text


# Documents that people hand over ---------------------------------------------------------------------------


@target(b"a: &x [1]\nb: [*x, *x]", b"- - - - - a", b"type: asgard_assets.components.api.ApiIngest\nattributes: {name: a}", b"? ? x", b"!!python/object:os.system x", b"a: 'x\n", b"%YAML 9\n---")  # fmt: skip
def yaml_documents(data: bytes) -> None:
    import yaml

    text = data.decode("utf-8", "replace")
    with suppress(yaml.YAMLError, ConfigError):
        refuse_bombs(text, "defs.yaml")
        yaml.safe_load(text)


_OPENAPI = {
    "openapi": "3.0.0", "info": {"title": "x"}, "servers": [{"url": "https://a/{v}", "variables": {"v": {"default": "1"}}}],
    "paths": {"/orders": {"get": {"parameters": [{"name": "page", "in": "query", "schema": {"type": "integer"}}], "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/L"}}}}}}}},
    "components": {"schemas": {"L": {"type": "object", "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/L"}}}}}},
}  # fmt: skip


@target(json.dumps(_OPENAPI).encode(), b'{"swagger":"2.0","paths":{"/a":{"get":{}}}}', b"openapi: 3.1.0\npaths: {/a: {$ref: x.yaml#/a}}")  # fmt: skip
def openapi_documents(data: bytes) -> None:
    import yaml

    file = _folder() / "spec.json"
    file.write_bytes(data)
    with suppress(ConfigError, SourceError):
        for path in lists_of(file):
            written = yaml.safe_load(propose(file, path).text)
            assert set(written) <= {"name", "kind", "form", "endpoint", "auth", "sink", "quality"}, written


_EVENT = {"Records": [{"eventName": "ObjectCreated:Put", "eventTime": "2026-10-05T00:00:00Z", "s3": {"bucket": {"name": "b"}, "object": {"key": "orders/ds%3D2026-10-05/a+b.csv", "size": 1, "eTag": "x"}}}]}  # fmt: skip


@target(
    json.dumps(_EVENT).encode(), json.dumps({"TopicArn": "t", "Message": json.dumps(_EVENT)}).encode(), b'{"Event":"s3:TestEvent"}',
    b'{"detail-type":"Object Created","time":"x","detail":{"bucket":{"name":"b"},"object":{"key":"orders/a","size":"1e999"}}}',
)  # fmt: skip
def notices_of_new_files(data: bytes) -> None:
    """A message is read or counted as unread; it names no file outside of the source's folder."""

    class Queue:
        def receive(self, most: int, seconds: float) -> Iterator[tuple[str, str]]:
            yield "1", data.decode("utf-8", "replace")

        def remove(self, handles: Sequence[str]) -> None: ...

    found, unread = read_notices(Landing("s3://b"), _source("orders"), Queue())
    assert unread in (0, 1)
    for file in (file for notice in found for file in notice.files):
        assert file.path.startswith("orders/") and isinstance(file.size, int)
        day_of(_source("orders"), file)


@cache
def _source(path: str) -> FileSource:
    told = {"name": "s", "path": path, "ds": {"type": "arrival"}, "description": "d"}
    return FileSource.model_validate(told)


@target(b"orders/ds=2026-10-05/a.csv", b"orders/2026/10/05/x_1_0.parquet", b"orders/ds=9999-99-99/a", b"orders/a-20261005T235960Z.csv")  # fmt: skip
def names_of_files(data: bytes) -> None:
    for rule in (
        {"type": "folder"},
        {"type": "path", "pattern": r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)"},
        {"type": "arrival"},
    ):
        source = FileSource.model_validate({"name": "s", "path": "orders", "ds": rule, "description": "d"})
        day = day_of(source, File(data.decode("utf-8", "surrogateescape"), 1, 1_790_000_000_000_000))
        assert day is None or date.fromisoformat(day)


@target(b'{"op":"c","source":{},"after":{"id":1}}', b'{"schema":1,"payload":{"op":"t","source":{"table":"a"}}}\n{"schema":1,"payload":{"id":7}}', b'{"op":"d","source":[]}')  # fmt: skip
def changes_of_a_database(data: bytes) -> None:
    document, key, *_ = [*_words(data), "", ""]
    with suppress(ValueError, RecursionError, NoChangeError):
        found, _ = change(json.loads(document))
        assert isinstance(row_key(key, found), str)


# Files of a landing ----------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="asgard-fuzz-"))


def _read(name: str, data: bytes) -> None:
    (_folder() / name).write_bytes(data)
    landing = Landing(str(_folder()))
    with suppress(SourceError):
        for records in read_file(landing, name, how_to_read(name, Auto(), "auto")):
            assert records.rows is not None


@target(*TABLES[:2], samples.as_csv(), b'a;b\n1,5;"x""y"\n', b'"a\n' * 50, b"\xff\xfea\x00,\x00")
def csv_files(data: bytes) -> None:
    _read("a.csv", data)


@target(*BODIES, samples.as_lines(), b'[{"a":1},{"a":2}]', b'{"a":1}{"a":2}')
def json_files(data: bytes) -> None:
    _read("a.json" if len(data) % 2 else "a.jsonl", data)


@target(samples.as_parquet(), slow=True)
def parquet_files(data: bytes) -> None:
    _read("a.parquet", data)


@target(samples.as_orc(), slow=True)
def orc_files(data: bytes) -> None:
    _read("a.orc", data)


@target(samples.as_avro(), slow=True)
def avro_files(data: bytes) -> None:
    _read("a.avro", data)


@target(*_packed(), slow=True)
def archive_files(data: bytes) -> None:
    _read("a.tar" if data[257:262] == b"ustar" else "a.zip", data)
