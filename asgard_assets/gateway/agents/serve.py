"""`asgard mcp`: over stdin and stdout for an agent on this machine, or over HTTP for several."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable

import dagster as dg
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.roles import May
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.agents.server import Agents
from asgard_assets.gateway.app import create_app
from asgard_assets.gateway.door import LOOPBACK, Door
from asgard_assets.gateway.platform import Platform
from asgard_assets.gateway.serve import JsonLines, refuse_open
from asgard_assets.settings import Settings


def serve_agents(writes: bool, http: bool, host: str, port: int) -> None:
    """Serve until the client, or a signal, ends it. Raises ConfigError where that would not be safe."""
    import uvicorn

    settings = Settings()
    if not settings.database_url:
        settings.refuse_home("DATABASE_URL", "accounts, the audit log and runs", "postgresql://…/asgard")
    accounts = Accounts.from_settings(settings)
    refuse_open(settings, host if http else "127.0.0.1", bool(accounts.list()), "asgard mcp")
    handler = logging.StreamHandler(sys.stderr)  # stdout is the protocol's
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    with dg.DagsterInstance.get() as instance:
        rate = settings.gateway_requests_per_second
        app = create_app(Platform.from_settings(settings, instance), Gate(accounts, rate))
        agents = Agents(app, Gate(accounts, rate), writes, settings.agent_key)
        if not http:
            agents.log_in()
            asyncio.run(_over_stdio(agents))
            return
        outer = over_http(agents, Gate(accounts, rate))
        uvicorn.run(outer, host=host, port=port, log_config=None, access_log=False, server_header=False)


def over_http(agents: Agents, gate: Gate, hosts: Iterable[str] = LOOPBACK) -> ASGIApp:
    """The server at /mcp, behind the gateway's own door: keys, Host and Origin, sizes, limits."""
    safe = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # the door does it
    inner = agents.server().streamable_http_app(
        json_response=True, stateless_http=True, transport_security=safe
    )

    async def read_only(scope: Scope, receive: Receive, send: Send) -> None:
        """A message changes nothing by itself: the calls that it makes are audited each."""
        scope.setdefault("state", {})["action"] = May.read
        await inner(scope, receive, send)

    return Door(read_only, gate, hosts)


async def _over_stdio(agents: Agents) -> None:
    server = agents.server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
