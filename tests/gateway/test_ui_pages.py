"""The pages of the gateway, without a browser: logins, forms, and data that would like to be markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from asgard_assets.gateway.accounts.sessions import COOKIE, SECONDS, Sessions, secret_of
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.platform import Platform
from asgard_assets.settings import Settings
from tests.gateway.conftest import Keys
from tests.gateway.test_ingestions import ORDERS, landed, make

EVIL = "<script>alert(1)</script>\x1b[31m\u202e"
FORM = {"name": "orders", "path": "orders", "glob": "*", "format": "csv", "workspace_name": "default"}


def token(client: httpx.Client, path: str = "/ui/new", **headers: str) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get(path, headers=headers).text)
    assert found
    return found[1]


def post(client: httpx.Client, path: str, form: Mapping[str, Any], **headers: str) -> httpx.Response:
    data = {"form_token": token(client, **headers), **form}
    return client.post(path, data=data, headers=headers, follow_redirects=False)


def test_a_source_is_made_in_three_steps(client: httpx.Client, platform: Platform):
    landed(platform, "orders/a.csv", f"id,note\n1,{EVIL.replace(chr(27), '')}\n")
    shown = post(client, "/ui/new", FORM | {"step": "preview"})
    assert shown.status_code == 200 and "bigint" in shown.text and "Total a month" in shown.text
    assert "<script" not in shown.text and "&lt;script&gt;" in shown.text
    assert platform.ingestions.page(lambda _: True).total == 0
    made = post(client, "/ui/new", FORM | {"step": "create", "cron": "0 2 * * *", "start": "2026-10-05"})
    assert (made.status_code, made.headers["location"]) == (303, "/ui/sources/orders")
    assert platform.ingestions.get("orders", lambda _: True).schedule["cron"] == "0 2 * * *"
    wrong = post(client, "/ui/new", FORM | {"step": "create"})
    assert wrong.status_code == 422 and "there already" in wrong.text


@pytest.mark.parametrize(
    "path", ["", "/sources", "/sources/orders", "/new", "/tables", "/products", "/models", "/quarantine"]
)
def test_a_page_runs_no_script_and_is_kept_by_nobody(client: httpx.Client, path: str):
    make(client)
    found = client.get(f"/ui{path}")
    assert found.status_code == 200, found.text
    assert "<script" not in found.text and "default-src 'none'" in found.headers["content-security-policy"]
    assert found.headers["cache-control"] == "private, no-store"
    assert '<a class="skip" href="#content">' in found.text and found.text.count("<h1>") == 1


def test_what_data_holds_is_text(client: httpx.Client, platform: Platform):
    rows = pa.table({"note": [EVIL], "email": ["a@x"]})
    staging = platform.lake.stage("gold", "notes", rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)
    shown = client.get("/ui/tables/gold/notes").text
    assert (
        "&lt;script&gt;" in shown and "<script" not in shown and "\x1b" not in shown and "\u202e" not in shown
    )
    assert client.get("/ui/tables/gold/nothing").status_code == 404


def test_a_form_of_another_page_is_refused(client: httpx.Client, platform: Platform):
    make(client)
    assert client.post("/ui/sources/orders/pause", data={}).status_code == 400
    assert client.post("/ui/sources/orders/pause", data={"form_token": "0" * 64}).status_code == 400
    evil = {"Origin": "https://evil.example"}
    assert (
        client.post("/ui/sources/orders/pause", data={"form_token": token(client)}, headers=evil).status_code
        == 403
    )
    assert platform.ingestions.get("orders", lambda _: True).status == "active"
    assert post(client, "/ui/sources/orders/pause", {}).status_code == 303
    assert platform.ingestions.get("orders", lambda _: True).status == "paused"


def test_a_link_from_elsewhere_leads_to_a_page_and_to_no_data(client: httpx.Client):
    there = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/ui/sources", headers=there).status_code == 200
    assert client.get("/api/v1/ingestions", headers=there).status_code == 403


def test_a_session_begins_with_a_key_and_ends_with_it(client: httpx.Client, accounts: Accounts, key: Keys):
    editor = key("editor")["Authorization"].removeprefix("Bearer ")
    closed = client.get("/ui/sources")
    assert closed.status_code == 401 and "Key of your account" in closed.text
    assert client.post("/ui/login", data={"key": "asgard_nonsense"}).status_code == 422
    begun = client.post("/ui/login", data={"key": editor}, follow_redirects=False)
    cookie = begun.headers["set-cookie"]
    assert begun.status_code == 303 and "HttpOnly" in cookie and "SameSite=strict" in cookie
    session = cookie.partition("=")[2].partition(";")[0]
    assert editor.rpartition("_")[2] not in session
    forged = session[:-1] + ("1" if session.endswith("0") else "0")
    logged_in = {"Cookie": f"{COOKIE}={session}"}
    assert client.get("/ui/sources", headers=logged_in).status_code == 200
    assert client.get("/api/v1/ingestions", headers=logged_in).status_code == 401
    assert client.get("/ui/sources", headers={"Cookie": f"{COOKIE}={forged}"}).status_code == 401
    accounts.revoke(editor.split("_")[1])
    client.app.state.sessions._known.clear()  # type: ignore[attr-defined]  # as two seconds later
    assert client.get("/ui/sources", headers=logged_in).status_code == 401


def test_a_session_ends_by_itself_and_with_its_account(accounts: Accounts):
    now = [1000.0]
    accounts.add("ann", "editor")
    sessions = Sessions(accounts, lambda: b"secret", lambda: now[0])
    cookie = sessions.begin(accounts.new_key("ann"))
    assert cookie and (found := sessions.caller(cookie)) and found.name == "ann"
    assert Sessions(accounts, lambda: b"other", lambda: now[0]).caller(cookie) is None
    now[0] += SECONDS
    assert sessions.caller(cookie) is None
    now[0] -= SECONDS - 10
    accounts.disable("ann")
    assert sessions.caller(cookie) is None


def test_a_viewer_sees_no_buttons_and_may_press_none(client: httpx.Client, platform: Platform, key: Keys):
    admin, viewer = key("admin"), key("viewer")
    make(client, ORDERS, **admin)
    shown = client.get("/ui/sources/orders", headers=viewer)
    assert shown.status_code == 200 and "<form" not in shown.text
    assert client.post("/ui/sources/orders/run", headers=viewer).status_code == 403
    assert client.get("/ui/new", headers=viewer).status_code == 403
    assert platform.submissions.all() == []


def test_the_style_is_there_without_a_login(client: httpx.Client, key: Keys):
    key("viewer")
    found = client.get("/ui/style.css")
    assert found.status_code == 200 and "prefers-color-scheme" in found.text


def test_a_login_with_too_many_fields_is_no_error_of_the_server(client: httpx.Client, key: Keys):
    key("viewer")
    sent = client.post("/ui/login", content="&".join(f"f{n}=1" for n in range(20)))
    assert sent.status_code == 400 and "cannot be read" in sent.text


def test_records_as_they_were_sent_are_for_editors(client: httpx.Client, platform: Platform, key: Keys):
    viewer, editor = key("viewer"), key("editor")
    for stage, column in (("quarantine", "raw"), ("rejected", "record"), ("bronze", "_rescued_data")):
        rows = pa.table({column: ['{"email": "ann@example.com"}']})
        staging = platform.lake.stage(stage, "orders", rows.schema, whole=True)
        platform.lake.write(staging, rows)
        platform.lake.publish(staging)
        assert "ann@" in client.get(f"/ui/tables/{stage}/orders", headers=editor).text
        shown = client.get(f"/ui/tables/{stage}/orders", headers=viewer)
        assert shown.status_code == 200 and "***" in shown.text and "ann@" not in shown.text


@pytest.mark.parametrize("left", [b"", None])
def test_the_secret_of_this_machine_is_never_empty(tmp_path: Path, left: bytes | None):
    settings = Settings(home=tmp_path, env="local", secret_key="")
    (tmp_path / "gateway").mkdir()
    if left is not None:  # a process ended between making the file and writing it
        (tmp_path / "gateway" / "secret").write_bytes(left)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: secret_of(settings)(), range(8)))
    assert len(secret_of(settings)()) == 64 and found == {secret_of(settings)()}
    assert [path.name for path in (tmp_path / "gateway").iterdir()] == ["secret"]


def test_the_audit_log_says_who_has_logged_in(client: httpx.Client, accounts: Accounts, key: Keys):
    given = key("viewer")["Authorization"].split()[1]
    client.post("/ui/login", data={"key": f"{given}x"})
    client.post("/ui/login", data={"key": given}, follow_redirects=False)
    assert [(one.account, one.status) for one in accounts.audit(2)] == [("viewer-0", 303), ("", 422)]
