"""Refresh tokens that rotate: each is used once, by one run; a killed run, a wrong key and a new login."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.oauth import TokenSource
from asgard_assets.ingest.api.access.vault import LEASE_SECONDS, Vault
from asgard_assets.ingest.api.http.messages import Refused, Request, Response
from asgard_assets.ingest.api.source.schemes import OAuth2Refresh
from asgard_assets.ingest.api.source.secrets import Secret
from asgard_assets.lake import Lake

FIRST, KEY = "first-refresh-token", "canary-key-of-the-vault"
AUTH = OAuth2Refresh.model_validate(
    {
        "type": "oauth2_refresh_token",
        "token_url": "http://idp/token",
        "client_id": "crm",
        "refresh_margin": 10,
        "refresh_token": "env:CRM_REFRESH",
        "token_key": "env:CRM_TOKEN_KEY",
    }  # fmt: skip
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("CRM_REFRESH", FIRST)
    monkeypatch.setenv("CRM_TOKEN_KEY", KEY)


class Rotating:
    """A token endpoint that takes each refresh token once."""

    def __init__(self, life: float = 3600):
        self.good, self.used, self.life = FIRST, list[str](), life

    async def __call__(self, request: Request) -> Response:
        assert request.body is not None
        told = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        assert told["grant_type"] == "refresh_token"
        self.used.append(told["refresh_token"])
        await asyncio.sleep(0.01)
        if told["refresh_token"] != self.good:
            return Response(400, {}, b'{"error": "invalid_grant"}')
        self.good = f"refresh-token-number-{len(self.used)}"
        body = {
            "access_token": f"access-token-{len(self.used)}",
            "refresh_token": self.good,
            "expires_in": self.life,
        }
        return Response(200, {}, json.dumps(body).encode())


class Wall:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def run(lake: Lake, endpoint: Rotating, wall: Wall | None = None) -> TokenSource:
    """What a run has of the login."""
    wall = wall or Wall()
    vault = Vault(lake, "crm", Secret(KEY), wall)
    return TokenSource("crm", AUTH, endpoint, clock=wall, sleep=wall.sleep, vault=vault, wall=wall)


def token(source: TokenSource, rejected: int | None = None) -> str:
    return asyncio.run(source.credentials(rejected)).secret.value


def test_the_next_run_uses_the_token_that_this_one_got(lake):
    endpoint, wall = Rotating(), Wall()
    assert token(run(lake, endpoint, wall)) == "Bearer access-token-1"
    assert token(run(lake, endpoint, wall)) == "Bearer access-token-1", "it is fresh still"
    wall.now += 3600
    assert token(run(lake, endpoint, wall)) == "Bearer access-token-2"
    assert endpoint.used == [FIRST, "refresh-token-number-1"]


def test_runs_at_once_use_each_refresh_token_once(lake):
    endpoint = Rotating()
    wall = Wall()

    async def together() -> list[str]:
        found = await asyncio.gather(*(run(lake, endpoint, wall).credentials() for _ in range(4)))
        return [one.secret.value for one in found]

    assert asyncio.run(together()) == ["Bearer access-token-1"] * 4
    assert endpoint.used == [FIRST]


def test_a_token_that_the_api_refuses_in_the_middle_is_renewed(lake):
    endpoint, wall = Rotating(), Wall()
    source = run(lake, endpoint, wall)

    async def walk() -> list[str]:
        first = await source.credentials()
        wall.now += 60
        second = await source.credentials(rejected=first.generation)
        wall.now += 3600
        third = await source.credentials()
        return [one.secret.value for one in (first, second, third)]

    assert asyncio.run(walk()) == [f"Bearer access-token-{n}" for n in (1, 2, 3)]
    assert endpoint.used == [FIRST, "refresh-token-number-1", "refresh-token-number-2"]


def test_what_a_killed_run_held_is_free_after_a_while(lake):
    endpoint, wall = Rotating(), Wall()
    vault = Vault(lake, "crm", Secret(KEY), wall)
    assert vault.lease(vault.read()) is not None  # and then the run is killed
    began = wall.now
    assert token(run(lake, endpoint, wall)) == "Bearer access-token-1"
    assert LEASE_SECONDS <= wall.now - began <= LEASE_SECONDS + 1


def test_one_lease_at_a_time(lake):
    vault = Vault(lake, "crm", Secret(KEY), Wall())
    kept = vault.read()
    assert vault.lease(kept) is not None
    assert vault.lease(kept) is None


def test_a_new_login_takes_the_place_of_the_kept_token(lake, monkeypatch):
    endpoint, wall = Rotating(), Wall()
    token(run(lake, endpoint, wall))
    wall.now += 3600
    endpoint.good = "revoked-by-the-server"
    with pytest.raises(Refused, match="log in again, and put the new refresh token into env:CRM_REFRESH"):
        token(run(lake, endpoint, wall))
    monkeypatch.setenv("CRM_REFRESH", "second-login-token")
    endpoint.good = "second-login-token"
    assert token(run(lake, endpoint, wall)) == "Bearer access-token-3"


def test_no_token_lies_in_the_lake_in_clear(lake):
    endpoint = Rotating()
    token(run(lake, endpoint))
    files = b"".join(path.read_bytes() for path in Path(lake.root).rglob("*") if path.is_file())
    for secret in (FIRST, endpoint.good, "access-token-1", KEY):
        assert secret.encode() not in files


def test_another_key_is_an_error_that_says_what_to_do(lake):
    token(run(lake, Rotating()))
    with pytest.raises(ConfigError, match="encrypted with another secret than auth.token_key"):
        Vault(lake, "crm", Secret("another-key")).read()
