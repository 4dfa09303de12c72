"""The MCP server over the gateway's app: each tool is a request, with the key of who calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import httpx2
import mcp_types as types
from fastapi import FastAPI
from mcp.server.lowlevel import Server

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.roles import ROLES
from asgard_assets.gateway.agents.hints import INSTRUCTIONS
from asgard_assets.gateway.agents.tools import Tool, tools_of
from asgard_assets.gateway.problems import RefusedError
from asgard_assets.version import VERSION

_HERE = "http://127.0.0.1"
_SECONDS = 300


@dataclass(frozen=True)
class Agents:
    """Answers tools by the app's own routes: roles, workspaces, limits and audit are theirs.

    `key` is the account's over stdio; over HTTP each request brings its own. Without `writes`, tools only read.
    """

    app: FastAPI
    gate: Gate
    writes: bool = False
    key: str = ""

    def server(self) -> Server[Any]:
        """The server, for any transport."""
        tools = tools_of(self.app)

        async def listed(context: Any, _: Any) -> types.ListToolsResult:
            caller = self.gate.caller(self._authorization(context))
            able = ROLES[caller.role]
            return types.ListToolsResult(
                tools=[_told(one) for one in tools.values() if one.action in able and self._open(one)]
            )

        async def called(context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
            tool = tools.get(asked.name)
            if tool is None:
                return _failed(
                    f"there is no tool {asked.name[:100]!r}; the list of tools says which there are"
                )
            if not self._open(tool):
                return _failed(
                    f"{tool.name} changes something, and this server only reads: asgard mcp --writes"
                )
            try:
                request = tool.request(asked.arguments or {})
            except ConfigError as error:
                return _failed(str(error))
            return await self._ask(request, self._authorization(context))

        return Server(
            "asgard", version=VERSION, title="Asgard", instructions=INSTRUCTIONS, lifespan=self._lifespan,
            on_list_tools=listed, on_call_tool=called,
        )  # fmt: skip

    def log_in(self) -> None:
        """Raises ConfigError where the key is no valid one, and a key is needed."""
        try:
            self.gate.caller(f"Bearer {self.key}")
        except RefusedError as error:
            raise ConfigError(
                "asgard mcp: ASGARD_AGENT_KEY is no valid key of an account; `asgard account key NAME` makes one"
            ) from error

    def _open(self, tool: Tool) -> bool:
        return self.writes or tool.reads

    def _authorization(self, context: Any) -> str:
        if context.request is not None:
            return context.request.headers.get("authorization", "")
        return f"Bearer {self.key}" if self.key else ""

    async def _ask(self, request: Mapping[str, Any], authorization: str) -> types.CallToolResult:
        headers = request["headers"] | ({"Authorization": authorization} if authorization else {})
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=_HERE, timeout=_SECONDS) as client:
            answer = await client.request(**{**request, "headers": headers})
        if answer.status_code >= 400:
            return _failed(_reason(answer))
        told = answer.json() if answer.content else {}
        if tag := answer.headers.get("etag"):
            told = {**told, "etag": tag} if isinstance(told, dict) else told
        content = types.TextContent(type="text", text=json.dumps(told))
        return types.CallToolResult(
            content=[content], structured_content=told if isinstance(told, dict) else None
        )

    @asynccontextmanager
    async def _lifespan(self, _: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        """Runs that tools ask for are started here. A server that only reads starts none."""
        async with self.app.router.lifespan_context(self.app) if self.writes else nullcontext():
            yield {}


def _told(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=tool.reads,
        destructive_hint=tool.method == "DELETE",
        idempotent_hint=tool.reads,
        open_world_hint=False,
    )
    title = tool.name.replace("_", " ").capitalize()
    return types.Tool(
        name=tool.name, title=title, description=tool.description, input_schema=dict(tool.schema), annotations=hints
    )  # fmt: skip


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _reason(answer: httpx2.Response) -> str:
    """The problem in words, with every field that is wrong."""
    try:
        told = answer.json()
        fields = "".join(f"\n{one['field']}: {one['reason']}" for one in told["errors"])
        return f"{answer.status_code} {told['title']}: {told['detail']}{fields}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: the server has failed; its log has the reason"
