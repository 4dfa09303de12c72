"""What every transport does: one suite, each test on both clients, against a server that writes raw bytes."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Awaitable, Callable

import pytest

from asgard_assets.ingest.api.http.client import transport
from asgard_assets.ingest.api.http.messages import (
    BodyTooLarge,
    ConnectFailed,
    Request,
    Response,
    TimedOut,
    TransportError,
    Unsendable,
)
from asgard_assets.ingest.api.http.transport import Deadline, Transport
from tests.ingest.api.sources import USAGE, source
from tests.patience import patience

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(params=["aiohttp", "native"])
def kind(request) -> str:
    return request.param


def talk(kind: str, answer, use: Callable[[Transport, str], Awaitable], **more):
    """Run `use(transport, url)` against a server that gives `answer` (bytes, or a coroutine function)."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
                )  # fmt: skip
                heard.append(head + await reader.readexactly(length))
                if callable(answer):
                    await answer(heard[-1], writer)
                else:
                    writer.write(answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = source(
            USAGE,
            transport={"type": kind, **more.pop("transport", {})},
            sink=USAGE["sink"] | {"max_body_bytes": 10_000},
        )
        try:
            async with transport(config) as client:
                return await use(client, url)
        finally:
            server.close()

    return asyncio.run(main()), heard


def get(path: str = "/", **more) -> Callable[[Transport, str], Awaitable[Response]]:
    async def use(client: Transport, url: str) -> Response:
        return await client.send(Request("id", more.pop("method", "GET"), url + path, **more))

    return use


def closing(answer: bytes):
    async def write(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return write


def test_an_answer_comes_whole(kind):
    answer = (
        b"HTTP/1.1 418 Odd\r\nX-One: a\r\nx-one: b\r\nX-Name: z\xc3\xbcrich\r\nContent-Length: 3\r\n\r\nabc"
    )
    response, heard = talk(kind, answer, get("/a%2Fb/%2E%2E/c?q=%C3%BC&r=1+2", headers={"X-Mine": "1"}))
    assert (response.status, response.body) == (418, b"abc")
    assert response.headers == {"x-one": "b", "x-name": "zürich", "content-length": "3"}
    assert heard[0].startswith(b"GET /a%2Fb/%2E%2E/c?q=%C3%BC&r=1+2 HTTP/1.1\r\n"), (
        "the address is not touched"
    )
    assert b"x-mine: 1" in heard[0].lower()
    assert b"user-agent: asgard" in heard[0].lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_is_sent_as_it_is(kind, method):
    body = b'{"a": "\x00\xff"}'
    headers = {"Content-Type": "application/json"}
    _, heard = talk(kind, OK, get("/", method=method, body=body, headers=headers))
    assert heard[0].startswith(f"{method} / HTTP/1.1".encode())
    assert heard[0].endswith(b"\r\n\r\n" + body)
    assert heard[0].lower().count(b"content-type") == 1
    assert b"expect" not in heard[0].lower()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_method_without_a_body_has_none(kind, method):
    response, heard = talk(kind, OK, get("/", method=method))
    assert response.status == 200
    assert heard[0].startswith(f"{method} / HTTP/1.1".encode())
    assert heard[0].endswith(b"\r\n\r\n")


def test_a_head_has_no_body_whatever_its_length_says(kind):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    response, _ = talk(kind, answer, get(method="HEAD"))
    assert (response.status, response.body) == (200, b"")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_ends_at_once(kind, status):
    answer = f'HTTP/1.1 {status} X\r\nETag: "a"\r\n\r\n'.encode()
    response, _ = talk(kind, answer, get())
    assert (response.status, response.body, response.headers) == (status, b"", {"etag": '"a"'})


def test_a_list_that_is_told_in_several_lines_is_one_list(kind):
    answer = (
        b'HTTP/1.1 200 OK\r\nLink: <a>; rel="next"\r\nX-One: a\r\nX-One: b\r\nlink: <b>; rel="last"\r\n'
        b"Content-Length: 0\r\n\r\n"
    )
    for response in (
        talk(kind, answer, get())[0],
        talk(kind, b"HTTP/1.1 100 Continue\r\n\r\n" + answer, get())[0],
    ):
        assert response.headers["link"] == '<a>; rel="next", <b>; rel="last"'
        assert response.headers["x-one"] == "b"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nwhole",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nwhole",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole",
    ],
)
def test_an_old_server_that_closes_is_understood(kind, answer):
    async def use(client: Transport, url: str) -> list[bytes]:
        return [(await client.send(Request("id", "GET", url))).body for _ in range(3)]

    assert talk(kind, closing(answer), use)[0] == [b"whole"] * 3


@pytest.mark.parametrize(
    "packed", [zlib.compress(b"x" * 99), zlib.compress(b"x" * 99, wbits=-15)], ids=["zlib", "raw"]
)
def test_both_meanings_of_deflate_are_unpacked(kind, packed):
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert talk(kind, answer + packed, get())[0].body == b"x" * 99


def test_an_address_may_be_one_of_ipv6(kind):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def main() -> Response:
        server = await asyncio.start_server(serve, "::1", 0)
        async with transport(source(USAGE, transport={"type": kind})) as client:
            return await client.send(Request("id", "GET", f"http://[::1]:{port(server)}/x"))

    def port(server: asyncio.Server) -> int:
        return server.sockets[0].getsockname()[1]

    heard: list[bytes] = []
    try:
        response = asyncio.run(main())
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert response.status == 200
    assert b"host: [::1]:" in heard[0].lower()


def test_chunks_and_packed_bodies_are_put_together(kind):
    packed = gzip.compress(b"x" * 5000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer += b"".join(
        b"%x\r\n%s\r\n" % (len(packed[i : i + 7]), packed[i : i + 7]) for i in range(0, len(packed), 7)
    )
    response, _ = talk(kind, answer + b"0\r\n\r\n", get())
    assert response.body == b"x" * 5000


def test_a_body_past_the_cap_is_refused(kind):
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n" + b"x" * 10001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"2711\r\n"
        + b"x" * 10001
        + b"\r\n0\r\n\r\n",
        closing(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10001),
    ):
        with pytest.raises(BodyTooLarge):
            talk(kind, answer, get())
    response, _ = talk(kind, b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10000, get())
    assert len(response.body) == 10000


def test_a_bomb_is_not_unpacked(kind):
    bomb = gzip.compress(b"0" * (64 << 20))
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    with pytest.raises(BodyTooLarge):
        talk(kind, answer, get())


def test_half_a_body_is_an_error(kind):
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ):
        with pytest.raises(TransportError):
            talk(kind, closing(answer), get())


def test_what_is_no_http_is_an_error(kind):
    for answer in (
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n: x\r\n\r\n" * 50,
    ):
        try:
            response, _ = talk(kind, closing(answer), get())
        except TransportError:
            continue
        assert isinstance(response, Response), "read leniently, or refused: but never a crash"


def test_a_packed_body_that_is_none_is_an_error(kind):
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    with pytest.raises(TransportError):
        talk(kind, answer, get())


def test_a_server_that_is_not_there_is_named(kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}/"

    async def use(client: Transport, _: str) -> None:
        await client.send(Request("id", "GET", gone))

    with pytest.raises(ConnectFailed, match="cannot connect"):
        talk(kind, OK, use)


async def _silence(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


def test_a_silent_server_times_out(kind):
    with pytest.raises(TimedOut, match=r"no answer within 0\.2 s"):
        talk(kind, _silence, get(), transport={"timeouts": {"total_seconds": 0.2}})


@pytest.mark.slow
def test_silence_has_a_bound_of_its_own(kind):
    async def half(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(30)

    with pytest.raises(TimedOut, match="silent for 1 s"):
        talk(kind, half, get(), transport={"timeouts": {"read_seconds": 1}})


def test_a_redirect_is_an_answer_and_is_not_followed(kind):
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n"
    response, heard = talk(kind, answer, get())
    assert (response.status, response.headers["location"]) == (302, "http://elsewhere.test/")
    assert len(heard) == 1


@pytest.mark.parametrize("headers", [{"X-A": "1\r\nX-B: 2"}, {"X-A": "\nHost: other"}])
def test_a_header_cannot_smuggle_another(kind, headers):
    with pytest.raises(Unsendable):
        talk(kind, OK, get("/", headers=headers))


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a:b:c/"])
def test_an_address_that_is_none_is_refused(kind, url):
    async def use(client: Transport, _: str) -> None:
        await client.send(Request("id", "GET", url))

    with pytest.raises((Unsendable, ConnectFailed)):
        talk(kind, OK, use)


def test_a_proxy_of_the_environment_is_not_asked(kind, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert talk(kind, OK, get())[0].status == 200


def test_cookies_are_not_kept(kind):
    async def use(client: Transport, url: str) -> None:
        for _ in range(2):
            await client.send(Request("id", "GET", url))

    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    _, heard = talk(kind, answer, use)
    assert b"cookie" not in heard[1].lower()


def test_a_kept_connection_that_the_server_closed_costs_no_row(kind):
    async def once(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def use(client: Transport, url: str) -> list[int]:
        statuses = []
        for _ in range(5):
            statuses.append((await client.send(Request("id", "GET", url))).status)
            await asyncio.sleep(0.02)
        return statuses

    assert talk(kind, once, use)[0] == [200] * 5


def test_many_at_once_do_not_mix(kind):
    async def echo(head: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(b" ")[1]
        await asyncio.sleep(0.001 * (hash(path) % 5))
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Path: %s\r\nContent-Length: %d\r\n\r\n%s" % (path, len(path), path)
        )

    async def use(client: Transport, url: str) -> int:
        async def one(number: int) -> bool:
            headers = {"X-Number": str(number)} if number % 2 else {}
            response = await client.send(Request("id", "GET", f"{url}/{number}", headers))
            return response.body == response.headers["x-path"].encode() == f"/{number}".encode()

        return sum(await asyncio.gather(*(one(number) for number in range(300))))

    right, heard = talk(kind, echo, use, transport={"connections": {"most": 40}})
    assert right == len(heard) == 300
    assert all((b"x-number" in head.lower()) == bool(int(head.split(b" ")[1][1:]) % 2) for head in heard)


def test_a_cancelled_request_harms_no_other(kind):
    async def slow(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3 if b"/slow" in head else 0)
        writer.write(OK)

    async def use(client: Transport, url: str) -> int:
        waiting = asyncio.create_task(client.send(Request("id", "GET", f"{url}/slow")))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return sum([(await client.send(Request("id", "GET", f"{url}/{n}"))).status == 200 for n in range(20)])

    assert talk(kind, slow, use)[0] == 20


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_requests_are_answered_and_leave_nothing_behind(kind):
    """The native client's soak: no crash, no lost request, no growth."""
    import psutil
    import uvloop

    from tests.fakes.mock_server import mock_server

    count, memory = 1_000_000, {}

    async def main(url: str) -> int:
        config, numbers, right = source(USAGE, transport={"type": kind}), iter(range(count)), 0

        async def work(client: Transport) -> None:
            nonlocal right
            for number in numbers:
                response = await client.send(Request("id", "GET", f"{url}/items/{number}"))
                right += response.status == 200 and response.body.startswith(b'{"id":%d,' % number)
                if number in (count // 10, count - 1):
                    memory[number] = psutil.Process().memory_info().rss

        async with transport(config) as client:
            await asyncio.gather(*(work(client) for _ in range(64)))
        return right

    with mock_server() as server:
        assert uvloop.run(main(server.url)) == count
        log = server.log()
    assert (log["distinct"], log["repeated"]) == (count, 0)
    early, late = memory.values()
    print(f"{kind}: {count} requests, {log['connections']} connections, {early >> 20} -> {late >> 20} MB")
    assert late <= early * 1.1


def test_one_timer_bounds_many_requests_and_leaves_cancelling_to_others():
    async def main() -> None:
        deadline = Deadline(patience(0.1))

        async def wait(seconds: float) -> str:
            with deadline:
                await asyncio.sleep(seconds)
            return "in time"

        cancelled = asyncio.create_task(wait(60))
        ended = asyncio.gather(*(wait(60) for _ in range(50)), wait(0), return_exceptions=True)
        await asyncio.sleep(0)
        cancelled.cancel()
        *late, in_time = await ended
        assert [type(error) for error in late] == [TimeoutError] * 50
        assert in_time == "in time"
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await wait(0) == "in time", "and it serves on"
        deadline.end()

    asyncio.run(main())
