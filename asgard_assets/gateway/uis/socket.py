"""A socket of Dagster's page, through which runs are followed. It ends with the session that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from yarl import URL

from asgard_assets.gateway.accounts.roles import ROLES, Caller
from asgard_assets.gateway.problems import RefusedError
from asgard_assets.gateway.uis.rules import of_message

_SECONDS = 2.0
_POLICY, _AWAY = 1008, 1013


@dataclass(frozen=True)
class Socket:
    """`goes_on`: whether the session is still good; it is asked every two seconds."""

    client: aiohttp.ClientSession
    url: URL
    caller: Caller
    goes_on: Callable[[Scope], bool]

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand messages on, both ways, until one side ends."""
        near = WebSocket(scope, receive, send)
        try:
            far = await self.client.ws_connect(
                self.url, protocols=scope.get("subprotocols", ()), max_msg_size=0
            )
        except (aiohttp.ClientError, TimeoutError):
            await near.close(_AWAY, "Dagster does not answer")
            return
        async with far:
            await near.accept(far.protocol)
            jobs = [
                asyncio.ensure_future(one)
                for one in (self._out(near, far), self._back(near, far), self._watch(scope))
            ]
            done, left = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            reason = next((one.result() for one in done if one.exception() is None), None)
            try:
                await near.close(_POLICY if reason else 1000, reason)
            except RuntimeError:
                pass  # the browser has closed it

    async def _out(self, near: WebSocket, far: aiohttp.ClientWebSocketResponse) -> str | None:
        """From the browser to Dagster. Gives the reason where a message is refused."""
        try:
            while True:
                text = await near.receive_text()
                action = of_message(text)
                if action not in ROLES[self.caller.role]:
                    return "your role does not allow this"
                await far.send_str(text)
        except (WebSocketDisconnect, RuntimeError, KeyError, aiohttp.ClientError):
            return None
        except RefusedError as error:
            return error.detail[:100]

    async def _back(self, near: WebSocket, far: aiohttp.ClientWebSocketResponse) -> None:
        async for message in far:
            if message.type is aiohttp.WSMsgType.TEXT:
                await near.send_text(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await near.send_bytes(message.data)

    async def _watch(self, scope: Scope) -> str:
        while self.goes_on(scope):
            await asyncio.sleep(_SECONDS)
        return "your session has ended: log in again"
