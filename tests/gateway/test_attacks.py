"""Secrets that are sent are told nobody; and no name, path, SQL, YAML or cron line does more than it should.

The requests are made from valid ones: each text in them, and in each path and query of the published OpenAPI, is exchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.platform import Platform
from tests.gateway.conftest import Keys, MemoryAirbyte
from tests.gateway.routes import VALID, things

CANARY = "canary-9d41c7e2"
PLANTED = "planted-3c90af"


def texts(found: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts are in a body."""
    if isinstance(found, str):
        yield place
    elif isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from texts(value, (*place, key))


def exchanged(body: Any, place: tuple[Any, ...], value: str) -> Any:
    """A copy with another text at a place."""
    made = json.loads(json.dumps(body))
    holder = made
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    return made


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in app.openapi()["paths"].items():
        for method, one in found.items():
            if method != "delete":  # it would take away what the others are tried on
                yield method, path, one


def requests(
    app: FastAPI, known: dict[str, dict[str, str]], values: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Every request of the API with each value in each of its texts, one at a time."""
    for method, path, found in operations(app):
        bodies = VALID.get((method, path), [{}] if method in ("post", "put") else [None])  # type: ignore[list-item]
        assert ("requestBody" in found) == ((method, path) in VALID), (
            f"say in VALID what {method} {path} takes"
        )
        there = next((one for begin, one in known.items() if path.startswith(f"{begin}/")), {})
        plain = path.format_map(
            {name: there.get(name, "x") for name in ("run_id", "name", "ingestion_id", "cluster_id")}
        )
        parameters = [(one["in"], one["name"]) for one in found.get("parameters", ())]
        for value in values:
            for body in bodies:
                for place in texts(body):
                    yield {"method": method, "url": plain, "json": exchanged(body, place, value)}
            for where, name in parameters:
                request = {"method": method, "url": plain, "json": bodies[0]}
                if where == "path":
                    here = {
                        one: quote(value, safe="") if one == name else there.get(one, "x")
                        for kind, one in parameters
                        if kind == "path"
                    }
                    yield {**request, "url": path.format_map(here)}
                elif where == "query":
                    yield {**request, "params": {name: value}}
                elif value.isascii() and value.isprintable():
                    yield {**request, "headers": {name: value}}


@pytest.fixture
def known(
    platform: Platform, client: httpx.Client, key: Keys, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, str]]:
    """One thing of each kind, and what nobody should see: a variable and a file of the gateway."""
    monkeypatch.setenv("SECRET_KEY", PLANTED)
    monkeypatch.setenv("ASGARD_KAFKA_PASSWORD", PLANTED)
    folder = Path(platform.ingestions.landing.root)
    (folder / "main" / "x").mkdir(parents=True)
    (folder / "main" / "x" / "a.csv").write_text("id\n1\n")
    (folder / "secret.csv").write_text(f"id\n{PLANTED}\n")
    (folder.parent / "outside.csv").write_text(f"id\n{PLANTED}\n")
    client.headers.update(key("admin", "main"))
    return things(platform, client, dict(client.headers))


def attacks(outside: Path, mark: Path) -> tuple[str, ...]:
    return (
        "x'; drop table x; select '", 'x" or 1=1 --', f"select * from read_csv('{outside}')", f"copy (select 1) to '{mark}'",
        "select getenv('SECRET_KEY') as n", f"select reflect('java.io.File', 'createTempFile', '{mark}', 'x') as n",
        "../../outside.csv", "main/../secret.csv", str(outside), f"file:{outside}", f"file://{outside}", "..%2f..%2foutside.csv", "main/x/../../..",
        "env:SECRET_KEY", "env:ASGARD_KAFKA_PASSWORD", "${SECRET_KEY}", "{{ env['SECRET_KEY'] }}", "{{ 7*7 }}",
        f"!!python/object/apply:os.system ['touch {mark}']", f"a\ntype: x\n- !!python/name:os.system {mark}", f"$(touch {mark})", f"`touch {mark}`; x",
        f"* * * * * touch {mark}", "*/0 * * * *", "99 99 99 99 99", "a\x00b", "é" * 3000, "-x", "CON", ".", "",
    )  # fmt: skip


@pytest.mark.timeout(1200)
def test_no_text_of_a_request_does_more_than_it_should(
    app: FastAPI, platform: Platform, client: httpx.Client, known: dict[str, dict[str, str]], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    mark, outside = tmp_path / "mark", tmp_path / "outside.csv"
    before = {path.name for path in tmp_path.iterdir()}
    for request in requests(app, known, attacks(outside, mark)):
        answer = client.request(**request)
        told = f"{request}: {answer.status_code} {answer.text[:500]}"
        assert answer.status_code not in (500, 502, 503), told
        assert PLANTED not in answer.text, told
        assert '"49"' not in answer.text and ">49<" not in answer.text, told
    assert {path.name for path in tmp_path.iterdir()} <= before | {"home"} and not mark.exists()
    assert "1" in outside.read_text() or PLANTED in outside.read_text()
    assert not [record for record in caplog.records if record.exc_info]
    assert ("gold", "mine") in platform.lake.tables()


def test_no_secret_that_is_sent_is_told_again(
    app: FastAPI, platform: Platform, client: httpx.Client, known: dict[str, dict[str, str]], accounts: Accounts, tmp_path: Path,
    memory: MemoryAirbyte, caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    caplog.set_level("INFO")
    said = list[str]()

    def send(request: dict[str, Any]) -> None:
        answer = client.request(**request)
        said.append(f"{request['method']} {request['url']}: {answer.text}{dict(answer.headers)}")

    for method, path, _ in operations(app):
        there = next((one for begin, one in known.items() if path.startswith(f"{begin}/")), {})
        url = path.format_map(
            {name: there.get(name, "x") for name in ("run_id", "name", "ingestion_id", "cluster_id")}
        )
        for headers in (
            {"Authorization": f"Bearer {CANARY}"},
            {"Cookie": f"asgard_session={CANARY}"},
            {"Idempotency-Key": CANARY},
        ):
            send({"method": method, "url": url, "headers": headers, "params": {"token": CANARY}})
        for body in VALID.get((method, path), ()):
            for place in secret(body):
                send({"method": method, "url": url, "json": exchanged(body, place, CANARY)})
            for holder in ((), *(place[:-1] for place in texts(body) if len(place) > 1)):
                for name in ("password", "api_key", "client_secret"):
                    send(
                        {
                            "method": method,
                            "url": url,
                            "json": exchanged(body, (*holder, name), CANARY)
                            if not holder or isinstance(name, str) and not isinstance(at(body, holder), list)
                            else body,
                        }
                    )
    for path in app.openapi()["paths"]:
        if "{" not in path:
            said.append(client.get(path).text)
    assert CANARY in json.dumps(memory.sent)  # who needs it has got it
    told = [one for one in said if CANARY in one]
    assert not told, "\n".join(
        f"{one[:80]} … {one[max(0, one.index(CANARY) - 200) :][:300]}" for one in told[:9]
    )
    logged = [
        one.getMessage() for one in caplog.records if not one.name.startswith("httpx")
    ]  # the test client logs its own
    assert logged and not [one for one in logged if CANARY in one]
    assert not [one for one in accounts.audit(10_000) if CANARY in str(one)]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert all(path.parent.name == "secrets" and path.stat().st_mode & 0o77 == 0 for path in kept), kept


def secret(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Where a body holds secrets."""
    names = ("password", "api_token", "token", "aws_access_key_id", "aws_secret_access_key", "X-Api-Key")
    return [place for place in texts(body) if place[-1] in names]


def at(body: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        body = body[part]
    return body
