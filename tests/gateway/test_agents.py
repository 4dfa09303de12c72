"""The tools of `asgard mcp`, asked by the protocol's own client: in memory, over stdin and stdout, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from fastapi import FastAPI
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.agents.hints import HINTS, INSTRUCTIONS
from asgard_assets.gateway.agents.server import Agents
from asgard_assets.gateway.agents.tools import tools_of
from tests.checkout import ROOT
from tests.end_to_end.homes import Home, free_port, listens
from tests.gateway.conftest import Keys
from tests.patience import ended, wait_until

Asked = Callable[[Client], Awaitable[Any]]
SECOND_ROUTES = ("/health", "/metrics", "/spark/transform", "/transformation")


def asked(agents: Agents, what: Asked) -> Any:
    async def session() -> Any:
        async with Client(agents.server()) as client:
            return await what(client)

    return asyncio.run(session())


def agents_of(app: FastAPI, accounts: Accounts, headers: dict[str, str], writes: bool = False) -> Agents:
    return Agents(app, Gate(accounts, 1000), writes, headers.get("Authorization", "").removeprefix("Bearer "))


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


def test_every_operation_of_the_api_is_a_tool(app: FastAPI):
    tools = tools_of(app)
    wanted = {
        (method.upper(), path)
        for path, found in app.openapi()["paths"].items()
        for method in found
        if not path.startswith(SECOND_ROUTES)
    }
    assert {(one.method, one.path) for one in tools.values()} == wanted
    assert set(HINTS) <= set(tools)
    told = [word.strip(".,:") for word in INSTRUCTIONS.split() if "_" in word]
    assert set(told) - {"idempotency_key"} <= set(tools), "the instructions name tools that there are"
    for one in tools.values():
        jsonschema.Draft202012Validator.check_schema(one.schema)
        assert len(one.description) > 10, one.name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("writes", [False, True])
def test_an_agent_sees_what_its_role_may_do(
    app: FastAPI, accounts: Accounts, key: Keys, role: str, writes: bool
):
    found = asked(agents_of(app, accounts, key(role), writes), names)
    able = ROLES[role] if writes else {May.read}
    assert found == {one.name for one in tools_of(app).values() if one.action in able}


def test_without_the_switch_nothing_is_changed(app: FastAPI, accounts: Accounts, key: Keys):
    async def change(client: Client) -> Any:
        return await client.call_tool(
            "create_datasource", {"source_type": "faker", "name": "f", "source_config": {}}
        )

    admin = key("admin")
    refused = asked(agents_of(app, accounts, admin), change)
    assert refused.is_error and "--writes" in refused.content[0].text
    made = asked(agents_of(app, accounts, admin, writes=True), change)
    assert not made.is_error and made.structured_content["source_id"]
    assert [one.action for one in accounts.audit() if one.status == 201] == ["POST /datasource"]


def test_a_tool_that_the_role_may_not_use_is_refused_by_the_api(app: FastAPI, accounts: Accounts, key: Keys):
    async def change(client: Client) -> Any:
        return await client.call_tool("submit_dbt_model", {"sql_query": "select 1 as n"})

    refused = asked(agents_of(app, accounts, key("viewer"), writes=True), change)
    assert refused.is_error and refused.content[0].text.startswith(
        "403 Not allowed: the account viewer-0 is viewer"
    )
    assert [(one.action, one.status) for one in accounts.audit()] == [("POST /dbt/transform", 403)]


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("transform_run_status", {"run_id": "../../etc/passwd"}, "404"),
        ("transform_run_status", {}, "run_id: the tool transform_run_status needs it"),
        ("transform_run_status", {"run_id": "a", "colour": "red"}, "has no argument 'colour'; it has: run_id"),
        ("list_transform_runs", {"limit": -1}, "limit: Input should be greater than or equal to 1"),
        ("list_transform_runs", {"status_filter": "GREEN"}, "status_filter: "),
        ("submit_dbt_model", {"sql_query": "select 1", "color": 1}, "color: Extra inputs are not permitted"),
        ("drop_everything", {}, "there is no tool 'drop_everything'"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(
    app: FastAPI, accounts: Accounts, tool: str, arguments: dict[str, Any], reason: str
):
    async def call(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    found = asked(agents_of(app, accounts, {}, writes=True), call)
    assert found.is_error and reason in found.content[0].text


def test_a_key_that_was_revoked_ends_a_session(app: FastAPI, accounts: Accounts, key: Keys):
    headers = key("viewer")
    accounts.revoke(headers["Authorization"].split("_")[1])

    async def look(client: Client) -> Any:
        return await client.call_tool("list_products", {})

    found = asked(agents_of(app, accounts, headers), look)
    assert found.is_error and found.content[0].text.startswith("401")


def test_definitions_change_only_by_who_has_seen_them(app: FastAPI, accounts: Accounts, key: Keys):
    async def change(client: Client) -> list[Any]:
        made = await client.call_tool("create_ingestion", {"name": "sales", "source": {"path": "sales"}})
        assert not made.is_error, made.content
        seen = await client.call_tool("get_ingestion", {"ingestion_id": "sales"})
        sent = {
            "ingestion_id": "sales",
            "source": {"path": "sales"},
            "if_match": seen.structured_content["etag"],
        }
        return [
            await client.call_tool("update_ingestion", {**sent, "description": text})
            for text in ("one", "two")
        ]

    first, second = asked(agents_of(app, accounts, key("editor"), writes=True), change)
    assert not first.is_error and second.is_error and second.content[0].text.startswith("412")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with an editor and a viewer; their keys are in its file keys.json."""
    found = Home(tmp_path_factory.mktemp("agents") / "home")
    found.path.mkdir(parents=True)
    keys = dict[str, str]()
    for role in ("editor", "viewer"):
        found.run("asgard", "account", "add", role, "--role", role)
        keys[role] = found.run("asgard", "account", "key", role).stdout.split()[-1]
    (found.path / "keys.json").write_text(json.dumps(keys))
    return found


def keys_of(home: Home) -> dict[str, str]:
    return json.loads((home.path / "keys.json").read_text())


def stdio(home: Home, key: str, *options: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=str(ROOT / ".venv" / "bin" / "asgard"), args=["mcp", *options], cwd=ROOT,
        env={**home.env, "ASGARD_AGENT_KEY": key},
    )  # fmt: skip


async def ended_run(client: Client, run: str) -> dict[str, Any]:
    """How a run has ended."""
    while True:
        told = (await client.call_tool("dbt_model_status", {"run_id": run})).structured_content
        assert told is not None
        if told["state"] in ("COMPLETED", "FAILED"):
            return told
        await asyncio.sleep(0.5)


@pytest.mark.servers
def test_over_stdin_and_stdout_a_gold_table_is_made(home: Home):
    async def work() -> None:
        async with Client(
            stdio(home, keys_of(home)["editor"], "--writes"), read_timeout_seconds=300
        ) as client:
            assert client.instructions == INSTRUCTIONS
            sent = {
                "sql_query": "select 1 as id, 'x' as what",
                "output_table": "gold.by_agent",
                "key": ["id"],
                "idempotency_key": "k",
            }
            made = [await client.call_tool("submit_dbt_model", sent) for _ in range(2)]
            run = made[0].structured_content["run_id"]
            assert run == made[1].structured_content["run_id"]
            told = await ended_run(client, run)
            assert told["state"] == "COMPLETED", told
            rows = await client.call_tool("product_rows", {"name": "by_agent", "columns": "id,what"})
            assert rows.structured_content["rows"] == [[1, "x"]]

    asyncio.run(work())


@pytest.mark.servers
def test_over_stdin_and_stdout_a_wrong_key_is_told_at_once(home: Home):
    answer = subprocess.run(
        [ROOT / ".venv" / "bin" / "asgard", "mcp"], cwd=ROOT, env={**home.env, "ASGARD_AGENT_KEY": "x"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 1 and "ASGARD_AGENT_KEY is no valid key" in answer.stderr
    assert answer.stdout == "", "stdout is the protocol's"


@contextmanager
def over_http(home: Home) -> Iterator[str]:
    port = free_port()
    process = home.start("asgard", "mcp", "--http", "--writes", "--port", str(port))
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, 120, "the tools are served")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        ended(process, 30)


@pytest.mark.servers
def test_over_http_each_request_has_the_role_of_its_key(home: Home):
    async def found(url: str, key: str) -> set[str]:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            async with Client(streamable_http_client(url, http_client=http)) as client:
                assert (await client.call_tool("list_features", {})).structured_content["features"]
                return await names(client)

    def status(url: str, **headers: str) -> int:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"Accept": "application/json, text/event-stream"}
        return httpx2.post(url, json=body, headers=accept | headers, timeout=60).status_code

    with over_http(home) as url:
        viewer, editor = (asyncio.run(found(url, keys_of(home)[role])) for role in ("viewer", "editor"))
        assert (
            "submit_transform" in editor - viewer
            and "upload_training" not in editor
            and "list_products" in viewer
        )
        own = {"Authorization": f"Bearer {keys_of(home)['viewer']}"}
        assert status(url) == 401
        assert status(url, Authorization="Bearer asgard_none") == 401
        assert status(url, **own, Origin="https://evil.example") == 403


@pytest.mark.servers
def test_without_accounts_it_listens_on_this_machine_alone(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir(parents=True)
    answer = home.run("asgard", "mcp", "--http", "--host", "0.0.0.0")  # noqa: S104
    assert answer.returncode == 1
    assert "asgard mcp: without accounts it listens on 127.0.0.1 alone" in answer.stderr
