"""OAuth2 against a real Keycloak: both grants, renewal under load, a revoked token; secrets stay on the driver."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter

import jwt
import pytest
import yaml
from aiohttp import web

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.oauth import issuer
from asgard_assets.ingest.api.http.messages import Refused
from deployments.local.logins.keycloak import Keycloak, keycloak
from tests.fakes.rest_api import RestApi, serving
from tests.ingest.api.sources import USAGE, source
from tests.patience import patience
from tests.required import missing

pytestmark = pytest.mark.servers

SECRET, PASSWORD = "canary-cl1ent-s3cret-91b7", "canary-passw0rd-5d02"
CLIENT = {"clientId": "crm", "secret": SECRET, "publicClient": False, "standardFlowEnabled": False}
REALM = {
    "accessTokenLifespan": 300,
    "clients": [CLIENT | {"serviceAccountsEnabled": True, "directAccessGrantsEnabled": True}],
    "users": [
        {"username": "ann", "enabled": True, "emailVerified": True, "email": "ann@example.org"}
        | {"firstName": "Ann", "lastName": "Other"}
        | {"credentials": [{"type": "password", "value": PASSWORD, "temporary": False}]}
    ],
}
AUTH = {"client_id": "crm", "client_secret": "env:CRM_SECRET"}


@pytest.fixture(scope="module")
def idp():
    try:
        with keycloak("crm", REALM) as server:
            yield server
    except ConfigError as error:
        missing(str(error))


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("CRM_SECRET", SECRET)
    monkeypatch.setenv("CRM_PASSWORD", PASSWORD)


class JwtApi(RestApi):
    """Wants access tokens that the realm signed and that have not expired; knows revoked ones."""

    def guard(self, idp: Keycloak, revoke_after: int = 0) -> None:
        self.key, self.revoke_after = idp.public_key(), revoke_after
        self.tokens: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.revoked: set[str] = set()

    async def _arrived(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if sum(self.tokens.values()) == self.revoke_after and not self.revoked:
            self.revoked.add(token)
        try:
            jwt.decode(token, self.key, ["RS256"], options={"verify_aud": False})
        except jwt.PyJWTError as error:
            self.refused[type(error).__name__] += 1
            raise web.HTTPUnauthorized from error
        if token in self.revoked:
            self.refused["revoked"] += 1
            raise web.HTTPUnauthorized
        self.tokens[token] += 1
        self.requests[request.path_qs] += 1
        await asyncio.sleep(self.latency)


def test_both_grants_and_both_ways_to_prove_the_client(idp):
    for auth in (
        {"type": "oauth2_client_credentials"},
        {"type": "oauth2_client_credentials", "client_auth": "body", "scope": "email profile"},
        {"type": "oauth2_password", "username": "ann", "password": "env:CRM_PASSWORD"},
    ):
        issuing = issuer(source(USAGE, auth=AUTH | auth | {"token_url": idp.token_url}))
        known = asyncio.run(issuing.credentials())
        claims = jwt.decode(
            known.secret.value.removeprefix("Bearer "),
            idp.public_key(),
            ["RS256"],
            options={"verify_aud": False},
        )
        assert claims["azp"] == "crm"
        assert known.expires_in == pytest.approx(240, abs=5)


def test_a_wrong_secret_is_one_clear_error(idp, monkeypatch):
    monkeypatch.setenv("CRM_SECRET", "canary-wrong-secret")
    auth = AUTH | {"type": "oauth2_client_credentials", "token_url": idp.token_url}
    with pytest.raises(Refused, match=r"401, unauthorized_client, .*check env:CRM_SECRET") as caught:
        asyncio.run(issuer(source(USAGE, auth=auth)).credentials())
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("grant", ["oauth2_client_credentials", "oauth2_password"])
def test_tokens_are_renewed_under_load_and_no_worker_ever_has_the_secret(idp, grant, tmp_path, monkeypatch):
    idp.change(accessTokenLifespan=12)
    auth = AUTH | {"type": grant, "token_url": idp.token_url, "refresh_margin": 6}
    if grant == "oauth2_password":
        auth |= {"username": "ann", "password": "env:CRM_PASSWORD"}
    else:
        monkeypatch.delenv("CRM_PASSWORD")  # of no concern to this source, so its workers would inherit it
    with serving(JwtApi()) as api:
        api.guard(idp, revoke_after=150)
        config = USAGE | {
            "form": {"type": "row", "rows": {"key": {"user_id": "bigint"}}},
            "endpoint": USAGE["endpoint"] | {"base_url": api.url},
            "auth": auth,
            "limits": {"requests_per_second": 30},
        }
        file = tmp_path / "usage.yaml"
        file.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [sys.executable, "-m", "tests.ingest.api.oauth_job", str(file), "900"],
            env=os.environ | {"ASGARD_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=patience(400),
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["succeeded"] == sum(api.tokens.values()) == 900
    assert len(api.tokens) >= 4, (
        "30 s of requests with tokens of 12 s, renewed after 6, and one that was revoked"
    )
    # Nobody was refused but those who were under way when a token was revoked, each once.
    assert set(api.refused) == {"revoked"}
    assert told["requests"] == 900 + api.refused["revoked"]

    assert set(told["workers"]) <= set(told["token_in"]), "the search finds what is there"
    assert all(told["driver_holds"])
    assert told["secret_in"] == []
    assert not told["conf_holds"]
    everything = done.stdout + done.stderr
    for folder, _, names in os.walk(tmp_path / "home"):
        for name in names:
            with open(os.path.join(folder, name), "rb") as content:
                data = content.read()
                assert SECRET.encode() not in data, name
                assert PASSWORD.encode() not in data, name
                assert b"eyJ" not in data or b"Bearer eyJ" not in data, name
    assert SECRET not in everything
    assert PASSWORD not in everything
    assert "Bearer eyJ" not in everything
