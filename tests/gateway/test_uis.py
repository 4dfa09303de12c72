"""Dagster, MLflow and Feast behind one login: real servers, a real browser, and sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from asgard_assets.gateway.accounts.roles import May
from asgard_assets.gateway.accounts.sessions import COOKIE
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.pages.render import is_page
from asgard_assets.gateway.problems import RefusedError
from asgard_assets.gateway.uis.paths import ui_of
from asgard_assets.gateway.uis.rules import mutations, needed, of_message
from tests.end_to_end.homes import Home, free_port
from tests.gateway.servers import gateway
from tests.gateway.test_browser import FLAGS, chromium  # noqa: F401  a fixture
from tests.patience import ended, patience, wait_until

JSON = "application/json"
PAGES = ("/dagster/", "/mlflow/", "/feast/")
RELOAD = "mutation R { reloadWorkspace { __typename } }"
WIPE = "mutation W { wipeAssets(assetPartitionRanges: []) { __typename } }"
VERSION = "{ version }"


def body(query: Any) -> bytes:
    return json.dumps({"query": query}).encode()


@pytest.mark.parametrize(
    ("query", "action"),
    [
        (VERSION, May.read),
        ("subscription S { pipelineRunLogs(runId: 1) { __typename } }", May.read),
        ("mutation { logTelemetry(action: 1) { __typename } }", May.read),
        (RELOAD, May.run),
        (f"query Q {{ version }} {RELOAD}", May.run),
        ("mutation { version: launchRun { __typename } }", May.run),
        ("mutation { launchRun { __typename } wipeAssets { __typename } }", May.admin),
        ("mutation { ...F } fragment F on Mutation { wipeAssets { __typename } }", May.admin),
        ("mutation { ... on Mutation { launchRun { __typename } } }", May.admin),
        ("mutation { somethingNew { __typename } }", May.admin),
        (WIPE, May.admin),
    ],
)
def test_a_mutation_needs_what_the_command_line_would(query: str, action: May):
    assert needed("dagster", "POST", "/dagster/graphql", "", JSON, body(query)).action is action
    assert of_message(json.dumps({"type": "start", "payload": {"query": query}})) is action


@pytest.mark.parametrize(
    ("method", "query", "kind", "sent"),
    [
        ("GET", "query=mutation", JSON, b""),
        ("GET", "%71uery=mutation", JSON, b""),
        ("HEAD", "q%75ery=mutation&x=1", JSON, b""),
        ("POST", "", "application/graphql", RELOAD.encode()),
        ("POST", "query=x", JSON, body(VERSION)),
        ("POST", "", "text/plain", body(VERSION)),
        ("POST", "", JSON, b"["),
        ("POST", "", JSON, b"[]"),
        ("POST", "", JSON, body(None)),
        ("POST", "", JSON, body("mutation {")),
        ("POST", "", JSON, body("{a" * 5000)),
        ("PUT", "", JSON, body(VERSION)),
    ],
)
def test_what_cannot_be_judged_is_not_handed_on(method: str, query: str, kind: str, sent: bytes):
    with pytest.raises(RefusedError) as refused:
        needed("dagster", method, "/dagster/graphql", query, kind, sent)
    assert refused.value.status in (400, 415)


def test_both_sides_read_the_same_query():
    twice = b'{"query": "mutation { wipeAssets { __typename } }", "query": "{ version }"}'
    found = needed("dagster", "POST", "/dagster/graphql/", "", JSON, twice)
    assert (
        found.action is May.read
        and json.loads(found.body) == {"query": VERSION}
        and b"wipe" not in found.body
    )
    assert mutations(VERSION) == []


@pytest.mark.parametrize(
    ("ui", "method", "path", "action"),
    [
        ("dagster", "GET", "/dagster/assets", May.read),
        ("dagster", "POST", "/dagster/report_asset_materialization/gold/x", May.edit),
        ("mlflow", "GET", "/mlflow/static-files/x.js", May.read),
        ("mlflow", "POST", "/mlflow/ajax-api/2.0/mlflow/runs/search", May.read),
        ("mlflow", "POST", "/mlflow/ajax-api/2.0/mlflow/runs/update", May.train),
        ("mlflow", "PATCH", "/mlflow/ajax-api/2.0/mlflow/registered-models/update", May.train),
        ("mlflow", "POST", "/mlflow/ajax-api/2.0/mlflow/experiments/delete", May.admin),
        ("mlflow", "DELETE", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete", May.admin),
        ("mlflow", "GET", "/mlflow/ajax-api/3.0/mlflow/gateway/secrets/list", May.admin),
        ("mlflow", "GET", "/mlflow/ajax-api/3.0/mlflow/Assistant/x", May.admin),
        ("feast", "GET", "/feast/api/v1/entities", May.read),
        ("feast", "POST", "/feast/api/v1/push", May.admin),
    ],
)  # fmt: skip
def test_what_a_page_may_be_asked_for(ui: Any, method: str, path: str, action: May):
    assert needed(ui, method, path, "", JSON, b"").action is action


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/feast", "feast"), ("/feast/p/asgard", "feast"), ("/feast/features", None), ("/feast/features/x/online", None),
        ("/feast/featuresets", "feast"), ("/dagster/x", "dagster"), ("/dagsters", None), ("/mlops/status", None), ("/", None), ("", None),
    ],
)  # fmt: skip
def test_paths_of_the_api_are_no_pages(path: str, name: str | None):
    assert ui_of(path) == name
    assert is_page(path) == (name is not None)


@dataclass
class Place:
    """A gateway with the three pages behind it. `keys`: of an account of each kind."""

    url: str
    keys: dict[str, str]
    accounts: Accounts

    @contextmanager
    def client(self, who: str = "") -> Iterator[httpx.Client]:
        """A browser without scripts; logged in as `who`."""
        with httpx.Client(base_url=self.url, timeout=patience(60), trust_env=False) as client:
            if who:
                assert client.post("/ui/login", data={"key": self.keys[who]}).status_code == 303
            yield client


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = Home(tmp_path_factory.mktemp("uis") / "home")
    (home.path / "gateway").mkdir(parents=True)
    (home.path / "dagster").mkdir()
    accounts = Accounts(f"sqlite:///{home.path / 'gateway' / 'accounts.db'}")
    for name, role in {
        "viewer": "viewer",
        "operator": "operator",
        "trainer": "trainer",
        "admin": "admin",
        "leaver": "viewer",
    }.items():
        accounts.add(name, role)
    accounts.add("guest", "admin", ("sales",))
    keys = {one.name: accounts.new_key(one.name) for one in accounts.list()}
    ports = {name: free_port() for name in ("dagster", "mlflow", "feast")}
    commands = {
        "dagster": ("dagster-webserver", "-p", str(ports["dagster"]), "--path-prefix", "/dagster", "-w", "workspace.yaml"),
        "mlflow": ("asgard", "ui", "mlflow", "--port", str(ports["mlflow"])),
        "feast": ("asgard", "ui", "feast", "--port", str(ports["feast"])),
    }  # fmt: skip
    uis = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with ExitStack() as stack:
        stack.callback(accounts.close)
        for command in commands.values():
            stack.callback(ended, home.start(*command), 30)
        for name, address in uis.items():
            wait_until(lambda url=f"{address}/{name}/": answers(url), 180, f"{name} answers")
        client = stack.enter_context(gateway(home, ASGARD_UIS=json.dumps(uis)))
        yield Place(str(client.base_url), keys, accounts)


@pytest.mark.servers
@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_a_login(place: Place, path: str):
    with place.client() as client:
        closed = client.get(path)
        assert closed.status_code == 401 and "Key of your account" in closed.text
        assert client.post("/dagster/graphql", json={"query": VERSION}).status_code == 401
        assert client.get(path, headers={"Cookie": f"{COOKIE}=x.1.{'0' * 64}"}).status_code == 401
    with place.client("viewer") as client:
        opened = client.get(path)
        assert opened.status_code == 200 and "<script" in opened.text
    with place.client("guest") as client:
        assert client.get(path).status_code == 403
        assert client.get(path, headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.servers
def test_roles_hold_in_dagster(place: Place):
    def asked(who: str, query: str) -> httpx.Response:
        with place.client(who) as client:
            return client.post("/dagster/graphql", json={"query": query})

    assert asked("viewer", VERSION).json()["data"]["version"]
    refused = asked("viewer", RELOAD)
    assert (
        refused.status_code == 403
        and "the account viewer is viewer" in refused.json()["errors"][0]["message"]
    )
    assert asked("operator", RELOAD).json()["data"]["reloadWorkspace"]["__typename"] == "Workspace"
    assert asked("operator", WIPE).status_code == 403
    assert "data" in asked("admin", WIPE).json()
    wanted = {
        ("admin", "POST /dagster/graphql wipeAssets", 200),
        ("operator", "POST /dagster/graphql reloadWorkspace", 200),
        ("operator", "POST /dagster/graphql wipeAssets", 403),
        ("viewer", "POST /dagster/graphql reloadWorkspace", 403),
    }

    def noted() -> bool:  # a line is written once the answer is out
        told = {(one.account, one.action, one.status) for one in place.accounts.audit() if one.account}
        return {one for one in told if "graphql" in one[1]} == wanted

    wait_until(noted, 10, "each change, and nothing else, is in the audit log")


@pytest.mark.servers
def test_the_api_takes_no_session_beside_the_pages(place: Place):
    with place.client("viewer") as client:
        closed = client.get("/feast/features")
        assert closed.status_code == 401 and closed.headers["content-type"] == "application/problem+json"
        opened = client.get("/feast/features", headers={"Authorization": f"Bearer {place.keys['viewer']}"})
        assert opened.status_code == 200 and opened.json()["features"]


@pytest.mark.servers
def test_roles_hold_in_mlflow(place: Place):
    api = "/mlflow/ajax-api/2.0/mlflow/experiments"
    with place.client("viewer") as client:
        assert "Default" in client.post(f"{api}/search", json={"max_results": 5}).text
        assert client.post(f"{api}/create", json={"name": "mine"}).status_code == 403
    with place.client("trainer") as client:
        made = client.post(f"{api}/create", json={"name": "mine"})
        assert made.status_code == 200, made.text
        number = made.json()["experiment_id"]
        assert client.post(f"{api}/delete", json={"experiment_id": number}).status_code == 403
    with place.client("admin") as client:
        assert client.post(f"{api}/delete", json={"experiment_id": number}).status_code == 200


async def socket(place: Place, key: str, *sent: dict[str, Any], then: Any = None) -> list[Any]:
    """What Dagster's socket says to these messages, until it says nothing for a second, or ends."""
    found = list[Any]()
    headers = {"Cookie": f"{COOKIE}={key}"} if key else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        address = f"{place.url.rstrip('/').replace('http', 'ws', 1)}/dagster/graphql"
        async with session.ws_connect(address, protocols=("graphql-ws",)) as there:
            for one in sent:
                await there.send_json(one)
            if then is not None:
                then()
            while True:
                try:
                    message = await there.receive(timeout=20 if then is not None else 2)
                except TimeoutError:
                    return found
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return [*found, message.type.name, there.close_code]
                found.append(message.json()["type"])


def session_of(place: Place, who: str) -> str:
    with place.client(who) as client:
        return client.cookies[COOKIE]


INIT = {"type": "connection_init"}
FOLLOW = "subscription { locationStateChangeEvents { __typename } }"


def started(query: str) -> dict[str, Any]:
    return {"id": "1", "type": "start", "payload": {"query": query}}


@pytest.mark.servers
def test_runs_are_followed_through_a_socket(place: Place):
    viewer = session_of(place, "viewer")
    assert asyncio.run(socket(place, viewer, INIT, started(FOLLOW))) == ["connection_ack"]
    refused = asyncio.run(socket(place, viewer, INIT, started(RELOAD)))
    assert refused[-2:] == ["CLOSE", 1008]
    for nobody in ("", session_of(place, "guest")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as closed:
            asyncio.run(socket(place, nobody, INIT))
        assert closed.value.status == 403


@pytest.mark.servers
def test_a_socket_ends_with_the_key_of_its_session(place: Place):
    def revoke() -> None:
        place.accounts.revoke(place.keys["leaver"].split("_")[1])

    leaver = session_of(place, "leaver")
    told = asyncio.run(socket(place, leaver, INIT, started(FOLLOW), then=revoke))
    assert told[-2:] == ["CLOSE", 1008]


@pytest.mark.servers
def test_a_browser_logs_in_once_for_all_pages(place: Place, chromium: str):  # noqa: F811
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        wrong = list[str]()
        page.on("response", lambda one: wrong.append(one.url) if one.status in (401, 403, 500) else None)
        page.goto(f"{place.url}/ui/login")
        page.get_by_label("Key of your account").fill(place.keys["viewer"])
        page.get_by_role("button", name="Log in").click()
        for name, words in (
            ("Dagster", "Deployment"),
            ("MLflow", "Experiments"),
            ("Feast", "Feature Views (3)"),
        ):
            page.goto(f"{place.url}/ui")
            page.get_by_role("link", name=name, exact=True).click()
            page.get_by_text(words).first.wait_for(timeout=60_000, state="attached")
        browser.close()
    # MLflow's assistant, which may run programs, is for admins alone. We have no /favicon.ico.
    assert not [url for url in wrong if "/mlflow/assistant/" not in url and not url.endswith("/favicon.ico")]


@pytest.mark.servers
def test_a_page_that_is_away_is_told_so(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir(parents=True)
    away = json.dumps({"dagster": f"http://127.0.0.1:{free_port()}"})
    with gateway(home, ASGARD_UIS=away) as client:
        found = client.get("/dagster/")
        assert found.status_code == 503 and "ASGARD_UIS" in found.text
        assert client.get("/mlflow/").status_code == 404
