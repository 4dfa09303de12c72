"""The swap point: how bytes get out and back. aiohttp is the default; anything with `send` will do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

from asgard_assets.errors import SourceError
from asgard_assets.ingest.api.http.messages import (
    BodyTooLarge,
    ConnectFailed,
    Request,
    Response,
    TimedOut,
    TransportError,
    Unsendable,
    joined,
)
from asgard_assets.ingest.api.http.tls import WireSecrets, context
from asgard_assets.ingest.api.source.models import ApiSource

if TYPE_CHECKING:
    import aiohttp

AGENT = "asgard/0.1"
_KNOWN_PAIRS = 4096
_MOST_HEADER = 65_536  # bytes of one header line; cookies, policies and signed links pass aiohttp's 8,190
_SAFE = frozenset({"GET", "HEAD"})


class Transport(Protocol):
    """Sends one request once. Raises TransportError where no whole answer came back, BodyTooLarge where it is
    longer than the sink takes, Unsendable where the request cannot be written. Follows no redirect: it could
    carry secrets away. Asks for no proxy or credentials of the process's environment."""

    async def send(self, request: Request) -> Response: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def own_headers() -> dict[str, str]:
    """What every request says of its sender. Which process it is helps who reads the other side's log."""
    return {"User-Agent": AGENT, "X-Asgard-Worker": str(os.getpid())}


class Deadline:
    """`asyncio.timeout` for many requests that all have the same bound, with one timer for all of them.

    A timer for each request costs a tenth of what aiohttp needs to send it. Raises TimeoutError up to a
    twentieth of the bound late, at most a quarter of a second.
    """

    def __init__(self, seconds: float):
        self._seconds, self._every = seconds, min(0.25, seconds / 20)
        self._until: dict[asyncio.Task[object], float] = {}  # in the order in which they end
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        # Without its loop, `current_task` asks the kernel which process this is, for each request.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._until[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._every, self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        if self._until.pop(task, None) is None:
            self._expired.discard(task)
            # Somebody else's cancellation besides ours goes on.
            if task.uncancel() <= 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._until:
            task, until = next(iter(self._until.items()))
            if until > now:
                break
            del self._until[task]
            self._expired.add(task)
            task.cancel()
        self._timer = loop.call_later(self._every, self._look) if self._until else None


class AiohttpTransport:
    """One connection pool for one event loop."""

    def __init__(self, source: ApiSource, secrets: WireSecrets):
        self._source, self._secrets = source, secrets
        self._via = self._proxy_headers()
        self._cap = source.sink.max_body_bytes
        self._session: aiohttp.ClientSession | None = None
        self._direct = source.transport.proxy is None
        self._deadline = Deadline(source.transport.timeouts.total_seconds)
        self._pairs: dict[tuple[bytes, bytes], tuple[str, str]] = {}

    async def __aenter__(self) -> Self:
        import aiohttp
        from multidict import CIMultiDict

        from asgard_assets.ingest.api.http.asked import Asks

        wire = self._source.transport
        headers = CIMultiDict(own_headers())
        self._connector = aiohttp.TCPConnector(
            limit=wire.connections.most or 0,
            ttl_dns_cache=wire.connections.dns_cache_seconds,
            keepalive_timeout=wire.connections.idle_seconds,
            ssl=context(self._source, self._secrets),
        )
        self._timeout = aiohttp.ClientTimeout(
            total=None,  # see Deadline
            sock_connect=wire.timeouts.connect_seconds,
            sock_read=wire.timeouts.read_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            proxy=wire.proxy.url if wire.proxy else None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            headers=headers,
            auto_decompress=True,
            max_line_size=_MOST_HEADER,
            max_field_size=_MOST_HEADER,
        )
        self._asks = Asks(self._session, headers)
        # Found here once: an import within a function costs something each time, and `send` runs for each row.
        self._failures = (aiohttp.ClientError, OSError, ValueError)
        self._lost = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.end()
        if self._session:
            await self._session.close()

    def _proxy_headers(self) -> dict[str, str] | None:
        """aiohttp turns Authorization into Proxy-Authorization, on the way to the proxy alone."""
        proxy, password = self._source.transport.proxy, self._secrets.proxy_password
        if proxy is None or not proxy.username:
            return None
        pair = f"{proxy.username}:{password.value if password else ''}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    async def send(self, request: Request) -> Response:
        answer = None
        try:
            spool = request.trace.spool
            with (
                self._deadline if spool is None else contextlib.nullcontext()
            ):  # a long body has no end to wait for
                if self._direct and request.body is None and "@" not in request.url:
                    answer = await self._ask(self._asks.asked(request))
                else:
                    from yarl import URL

                    assert self._session is not None
                    answer = await self._session.request(
                        request.method,
                        URL(request.url, encoded=True),
                        headers=request.headers,
                        data=request.body,
                        allow_redirects=False,
                        proxy_headers=self._via,
                    )
                headers = self._headers_of(answer.raw_headers)
                if spool is not None and answer.status == 200:
                    return Response(answer.status, headers, b"", await _spooled(answer, spool))
                body = await self._body(answer, headers)
            return Response(answer.status, headers, body)
        except self._failures as error:
            raise self._meant(error) from error
        finally:
            if answer is not None and not answer.closed:
                answer.release()  # closes the connection, for the body was not read to its end

    def _meant(self, error: Exception) -> SourceError:
        """What an error of aiohttp's says in our words."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return ConnectFailed(f"cannot connect: {_said(error)}")
        if isinstance(error, aiohttp.SocketTimeoutError):
            return TimedOut(f"silent for {self._source.transport.timeouts.read_seconds or 0:g} s")
        if isinstance(error, TimeoutError):
            return TimedOut(f"no answer within {self._source.transport.timeouts.total_seconds:g} s")
        if isinstance(error, ValueError):  # aiohttp's InvalidURL is one too
            return Unsendable(f"the request cannot be sent: {_said(error)}")
        return TransportError(f"{type(error).__name__}: {_said(error)}")

    async def _ask(self, asked: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        """What `ClientSession.request` does for a request without body, on aiohttp's own connections: nothing
        of cookies, redirects, proxies and tracing is looked for, which is a third of its cost.
        """
        again = asked.method in _SAFE
        while True:
            try:
                connection = await self._connector.connect(asked, [], self._timeout)
            except TimeoutError as error:  # also where only the socket's is meant
                import aiohttp

                raise aiohttp.ConnectionTimeoutError(f"no connection to {asked.url.host}") from error
            try:
                assert connection.protocol is not None
                connection.protocol.set_response_params(
                    skip_payload=asked.method == "HEAD",
                    read_until_eof=True,
                    read_timeout=self._timeout.sock_read,
                    max_line_size=_MOST_HEADER,
                    max_field_size=_MOST_HEADER,
                )
                answer = await asked.send(connection)
                try:
                    return await answer.start(connection)
                except BaseException:
                    answer.close()
                    raise
            except self._lost:
                connection.close()
                # A kept connection that the server had closed; the next one is tried once.
                if not again:
                    raise
                again = False
            except BaseException:
                connection.close()
                raise

    def _headers_of(self, raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
        """Names in lower case; pairs that came before are not decoded again."""
        pairs = list(map(self._pairs.get, raw))
        if None in pairs:
            pairs = [pair or self._pair(*at) for pair, at in zip(pairs, raw, strict=True)]
        headers: dict[str, str] = dict(pairs)  # type: ignore[arg-type]
        return headers if len(headers) == len(raw) else joined(headers, pairs)  # type: ignore[arg-type]

    def _pair(self, name: bytes, value: bytes) -> tuple[str, str]:
        if len(self._pairs) >= _KNOWN_PAIRS:
            self._pairs.clear()
        pair = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        self._pairs[name, value] = pair
        return pair

    async def _body(self, answer: aiohttp.ClientResponse, headers: Mapping[str, str]) -> bytes:
        """The body, or BodyTooLarge as soon as it grows past the cap: a packed bomb is never unpacked."""
        cap, told = self._cap, headers.get("content-length", "")
        if "content-encoding" not in headers and told.isdecimal():
            if int(told) > cap and answer.method != "HEAD":
                raise BodyTooLarge(f"the body has {told} bytes, allowed are {cap}")
            content = answer.content
            if not content.is_eof() or content.exception() is not None or answer.method not in _SAFE:
                return await answer.read()
            # A short body is often there before it is asked for.
            body = content.read_nowait()
            while not content.at_eof():
                body += content.read_nowait()
            return body
        chunks, size = [], 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if size > cap:
                raise BodyTooLarge(f"the body has more than {cap} bytes unpacked")
            chunks.append(chunk)
        return b"".join(chunks)


async def _spooled(answer: aiohttp.ClientResponse, spool: IO[bytes]) -> int:
    """Write the body to the file, in place of what an earlier try left there; gives back its length."""
    spool.seek(0)
    spool.truncate()
    async for chunk in answer.content.iter_any():
        spool.write(chunk)
    return spool.tell()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
