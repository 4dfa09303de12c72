"""The swap point: how bytes get out and back. aiohttp is the default; anything with `send` will do."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from asgard_assets.ingest.api.messages import (
    BodyTooLarge,
    ConnectFailed,
    Request,
    Response,
    TimedOut,
    TransportError,
)
from asgard_assets.ingest.api.models import ApiSource

if TYPE_CHECKING:
    import aiohttp

AGENT = "asgard/0.1"


class Transport(Protocol):
    """Sends one request once. Raises TransportError where no whole answer came back."""

    async def send(self, request: Request) -> Response: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AiohttpTransport:
    """One connection pool for one event loop. Redirects are not followed: they could carry secrets away."""

    def __init__(self, source: ApiSource):
        self._source = source
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        timeouts = self._source.timeouts
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=timeouts.total_seconds, sock_connect=timeouts.connect_seconds
            ),
            # Which process sends, for the other side's log.
            headers={"User-Agent": AGENT, "X-Asgard-Worker": str(os.getpid())},
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def send(self, request: Request) -> Response:
        import aiohttp
        from yarl import URL

        assert self._session is not None
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
            ) as answer:
                body = await self._body(answer)
                headers = {
                    k.decode("latin-1").lower(): v.decode("utf-8", "replace") for k, v in answer.raw_headers
                }
                return Response(answer.status, headers, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ConnectFailed(f"cannot connect: {_said(error)}") from error
        except asyncio.TimeoutError as error:  # noqa: UP041  aiohttp's own timeouts are subclasses of both
            raise TimedOut(f"no answer within {self._source.timeouts.total_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"{type(error).__name__}: {_said(error)}") from error

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        """The body, or BodyTooLarge as soon as it grows past the cap: a packed bomb is never unpacked."""
        cap = self._source.sink.max_body_bytes
        if answer.content_length is not None and "content-encoding" not in answer.headers:
            if answer.content_length > cap:
                raise BodyTooLarge(f"the body has {answer.content_length} bytes, allowed are {cap}")
            return await answer.read()
        chunks, size = [], 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if size > cap:
                raise BodyTooLarge(f"the body has more than {cap} bytes unpacked")
            chunks.append(chunk)
        return b"".join(chunks)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
