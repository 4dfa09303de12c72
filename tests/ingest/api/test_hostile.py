"""Servers that mean harm or are broken: every request of a task ends as a row with a reason, on both clients."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.lists.pagination import MalformedPage, Page, following
from asgard_assets.ingest.api.rate.quota import quota, retry_after
from asgard_assets.ingest.api.table.bronze import arrow_schema
from asgard_assets.ingest.api.worker import Task
from tests.ingest.api.sources import TICKETS, USAGE, source
from tests.patience import patience

DAY = "2026-10-05"
CAP = 50_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def sized(body: bytes, more: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


@pytest.fixture(params=["aiohttp", "native"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def lake_of(tmp_path_factory):
    import os

    from asgard_assets.lake import Lake
    from asgard_assets.settings import Settings

    before = os.environ["ASGARD_HOME"]
    os.environ["ASGARD_HOME"] = str(tmp_path_factory.mktemp("hostile"))
    yield Lake.from_settings(Settings())
    os.environ["ASGARD_HOME"] = before


def rows_of(lake, kind: str, answer: bytes | Callable[[bytes, str], bytes], count=1, base=USAGE, **changes):
    """What one task writes whose server gives `answer` (and then closes) to everything."""
    served = 0

    async def serve(reader, writer):
        nonlocal served
        served += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(head, origin) if callable(answer) else answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main():
        nonlocal origin
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = source(
            base,
            auth={"type": "none"},
            transport={"type": kind, "timeouts": {"total_seconds": patience(1)}},
            retry={"attempts": 1, "deadline_seconds": patience(0.7), "backoff_seconds": 0.01},
            sink=base["sink"] | {"max_body_bytes": CAP},
            **changes,
        )
        schema = arrow_schema(config)
        staging = lake.stage("bronze", config.name, schema, [DAY])
        job = Job(config, lake, staging.path, schema, origin, None, {DAY: 1}, "run")
        plan = [
            (DAY, f"id-{n}", json.dumps({"user_id": n}), json.dumps({"user_id": n}), None)
            for n in range(count)
        ]
        columns = [pa.array(list(column), pa.string()) for column in zip(*plan, strict=True)]
        batch = pa.record_batch(columns, names=["ds", "request_id", "row_key", "row", "known"])
        async with asyncio.timeout(30):
            figures = await Task(job, "0").run(iter([batch]))
        server.close()
        tables = [pq.read_table(f"{staging.path}/{name}") for name in figures.files]
        return figures, [row for table in tables for row in table.to_pylist()]

    origin = ""
    figures, rows = asyncio.run(main())
    assert not figures.aborted
    for row in rows:
        assert row["success"] or row["error_message"], "a row that failed says why"
    return rows


def bomb(encoding: str) -> bytes:
    body = b"0" * 20_000_000
    if encoding == "gzip":
        packed = gzip.compress(body)
    elif encoding == "deflate":
        packed = zlib.compress(body)
    elif encoding == "br":
        packed = base64.b64decode("z///fwAkYOKxQHLv//OfJQaABEAcFoAuSQw=")
    else:
        packed = zlib.decompress(base64.b64decode("eNrT2Kr/lyHDh4GBw4CR4c9/SwEmJgYBg1E8immBmTM4DQAZaSzP"))
    return sized(packed, b"Content-Encoding: %s\r\n" % encoding.encode())


BROKEN = {
    "nothing at all": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a status line": b"HTTP/1.",
    "a status that is no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "half of the headers": HEAD[:40],
    "less than it promises": HEAD + b"Content-Length: 100\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 300\r\n\r\n{}",
    "a length that is no number": HEAD + b"Content-Length: 9x\r\n\r\n{}",
    "chunks that are garbage": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n{}\r\n",
    "a chunk that ends early": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}",
    "a packed body that is none": sized(b"not gzip", b"Content-Encoding: gzip\r\n"),
    "a longer body than allowed": sized(b"x" * (CAP + 1)),
    "an endless body": HEAD + b"\r\n" + b"x" * 1_000_000,
    "a redirect to itself": lambda head, origin: sized(
        b"", b"Location: %s\r\n" % head.split(b" ")[1], b"302 Found"
    ),
    "a redirect to a file": sized(b"", b"Location: file:///etc/passwd\r\n", b"302 Found"),
    "a redirect to nowhere": sized(b"", b"Location: http://127.0.0.1:9/\r\n", b"302 Found"),
    "a redirect that is no address": sized(b"", b"Location: http://[::1\r\n", b"302 Found"),
    "a redirect without a target": sized(b"", b"", b"302 Found"),
    "a 304 that nobody asked for": sized(b"", b"", b"304 Not Modified"),
    "a wait of a thousand years": sized(b"", b"Retry-After: 31536000000\r\n", b"429 Too Many Requests"),
    "a wait until never": sized(b"", b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", b"503 Unavailable"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_a_row_with_a_reason(lake_of, kind, name):
    (row,) = rows_of(lake_of, kind, BROKEN[name])
    assert not row["success"]
    assert row["error_message"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_bomb_is_not_unpacked(lake_of, kind, encoding):
    (row,) = rows_of(lake_of, kind, bomb(encoding))
    # An encoding that the client did not ask for and does not know stays packed, or is an error: never large.
    assert not row["success"] or encoding in ("br", "zstd")
    assert row["error_class"] == "BodyTooLarge" or encoding in ("br", "zstd")
    assert len(row["body"] or "") < CAP


ODD = {
    "half a packed body": sized(
        gzip.compress(random.Random(1).randbytes(999))[:50], b"Content-Encoding: gzip\r\n"
    ),
    "many headers": sized(b"{}", b"".join(b"X-%d: a\r\n" % n for n in range(80))),
    "the same header again and again": sized(b"{}", b"X-Same: a\r\n" * 50),
    "headers that are no text": sized(b"{}", b"X-Odd: \xff\xfe\xf0\x9f\r\nX-\x80: y\r\n"),
    "a long header": sized(b"{}", b"X-Long: " + b"a" * 7_000 + b"\r\n"),
    "a huge header": sized(b"{}", b"X-Huge: " + b"a" * 300_000 + b"\r\n"),
    "bytes that are no text": sized(bytes(range(256))),
    "a charset that does not exist": sized(b"\xe4", b"Content-Type: text/plain; charset=klingon\r\n"),
    "another charset than it says": sized(
        "ü".encode("utf-16"), b"Content-Type: application/json; charset=utf-8\r\n"
    ),
    "nothing in 200": sized(b""),
    "an empty chunked body": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "limits that are garbage": sized(
        b"{}",
        b"X-RateLimit-Remaining: -1\r\nX-RateLimit-Reset: \xff\r\nRateLimit: ;;r=;t=x\r\nRetry-After: x\r\n",
    ),
    "limits that say no and mean never": sized(
        b"{}", b"X-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 99999999999999\r\n"
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_one_row_for_each_request(lake_of, kind, name):
    rows = rows_of(lake_of, kind, ODD[name], count=1)
    assert [row["request_id"] for row in rows] == ["id-0"]
    assert json.loads(rows[0]["response_headers"] or "{}") is not None


@pytest.mark.parametrize(
    "link",
    [
        lambda origin: f"{origin}/v1/tickets?date={DAY}",
        lambda origin: "javascript:alert(1)",
        lambda origin: "http://127.0.0.1:9/steal",
        lambda origin: "file:///etc/passwd",
        lambda origin: "http://[::1",
        lambda origin: 7,
        lambda origin: {"a": 1},
        lambda origin: "\x00\ud800",
    ],
)
def test_a_next_page_that_nobody_should_follow_is_a_row_with_a_reason(lake_of, kind, link):
    def answer(_: bytes, origin: str) -> bytes:
        return sized(json.dumps({"data": [{"a": 1}], "next": link(origin)}).encode())

    form = {"type": "pull", "items": "data", "max_pages": 5, "pagination": {"type": "next_url"}}
    rows = rows_of(lake_of, kind, answer, base=TICKETS, form=form)
    failed = [row for row in rows if not row["success"]]
    assert len(failed) == 1
    assert failed[0]["error_class"] in ("MalformedPage", "TransportError", "Unsendable", "ConnectFailed")


FUZZ = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@FUZZ
@given(answer=st.binary(max_size=300))
def test_any_bytes_are_a_row(lake_of, kind, answer):
    assert len(rows_of(lake_of, kind, answer)) == 1


@FUZZ
@given(
    lines=st.lists(
        st.binary(max_size=60).filter(lambda line: b"\n" not in line and b"\r" not in line), max_size=6
    )
)
def test_any_header_lines_are_a_row(lake_of, kind, lines):
    assert len(rows_of(lake_of, kind, sized(b"{}", b"".join(line + b"\r\n" for line in lines)))) == 1


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(), st.integers().map(str), st.floats().map(str), st.datetimes().map(str)))
def test_any_retry_after_is_a_wait_or_none(text):
    wait = retry_after({"retry-after": text}, lambda: 1.8e9)
    assert wait is None or 0 <= wait < 1e16


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("-1", 0),
        ("9" * 400, None),
        ("1e9", None),
        ("1_000", None),
        ("٣", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 +9999", None),
    ],
)
def test_a_retry_after_far_away_or_out_of_range(text, wait):
    found = retry_after({"retry-after": text}, lambda: 1.8e9)
    assert found == wait or (wait is None and found is not None and found > 1e6)


NAMES = st.sampled_from(
    ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    + ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-ratelimit-reset-after", "date"]
)


@settings(max_examples=300, deadline=None)
@given(
    headers=st.dictionaries(
        NAMES,
        st.one_of(st.text(max_size=30), st.integers().map(str), st.from_regex(r'"a";[qrtw]=\d+;[qrtw]=\d+')),
    )
)
def test_any_limit_headers_are_a_quota_or_none(headers):
    found = quota(headers, lambda: 1.8e9)
    if found is not None:
        assert found.remaining is None or found.remaining >= 0
        assert found.reset is None or 0 <= found.reset <= 366 * 86400


@settings(max_examples=300, deadline=None)
@given(link=st.text(max_size=60), header=st.booleans())
def test_any_link_is_a_page_of_the_same_origin_or_refused(link, header):
    page, url = Page(), "https://api.example/v1/items?page=1"
    kinds = {True: {"type": "link"}, False: {"type": "next_url"}}
    form = source(TICKETS, form=TICKETS["form"] | {"pagination": kinds[header]}).form
    headers = {"link": f'<{link}>; rel="next"'} if header else {}
    try:
        after = following(form.pagination, page, url, headers, {"next": link}, 1)
    except MalformedPage:
        return
    assert after is None or (after.url or "").startswith("https://api.example/")
