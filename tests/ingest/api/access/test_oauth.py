"""Tokens against scripted endpoints, in virtual time; a real Keycloak is in test_keycloak.py."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest

from asgard_assets.ingest.api.access.auth import Authenticator, Credentials
from asgard_assets.ingest.api.access.oauth import TokenSource
from asgard_assets.ingest.api.http.messages import Refused, Request, Response, TransportError, Unreachable
from asgard_assets.ingest.api.source.secrets import Redactor, Secret
from tests.ingest.api.clock import now, virtually
from tests.ingest.api.sources import USAGE, source

SECRET, PASSWORD = "canary/secret+1", "canary password"
CLIENT = {
    "type": "oauth2_client_credentials",
    "token_url": "http://idp/token",
    "client_id": "crm",
    "client_secret": "env:CRM_SECRET",
    "refresh_margin": 10,
}
USER = CLIENT | {"type": "oauth2_password", "username": "ann", "password": "env:CRM_PASSWORD"}


class Endpoint:
    """A token endpoint: answers from a script, then tokens of `life` seconds."""

    def __init__(self, *script, life=60.0, **more):
        self.script, self.life, self.more = list(script), life, more
        self.forms: list[dict[str, str]] = []
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        self.forms.append({k: v[0] for k, v in parse_qs(request.body.decode()).items()})
        await asyncio.sleep(0.05)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return grant(f"token-number-{len(self.requests)}", expires_in=self.life, **self.more)


def grant(token, **fields):
    return answer(200, {"access_token": token, "token_type": "Bearer", **fields})


def answer(status, body):
    return Response(status, {}, json.dumps(body).encode())


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("CRM_SECRET", SECRET)
    monkeypatch.setenv("CRM_PASSWORD", PASSWORD)


def tokens(endpoint, auth=CLIENT, **more):
    return TokenSource("crm", source(USAGE, auth=auth | more).auth, endpoint, now, asyncio.sleep)


def values(*known):
    return [credentials.secret.value for credentials in known]


def test_client_credentials_ask_with_scope_and_audience():
    endpoint = Endpoint()
    known = virtually(tokens(endpoint, scope="read write", audience="crm-api").credentials())
    assert values(known) == ["Bearer token-number-1"]
    assert endpoint.forms == [
        {"grant_type": "client_credentials", "scope": "read write", "audience": "crm-api"}
    ]
    basic = endpoint.requests[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic) == b"crm:canary%2Fsecret%2B1", "encoded as RFC 6749, 2.3.1 wants it"
    assert known.expires_in == pytest.approx(50, abs=0.1)


def test_a_secret_can_stand_in_the_body():
    endpoint = Endpoint()
    virtually(tokens(endpoint, client_auth="body").credentials())
    assert endpoint.forms[0] | {"client_id": "crm", "client_secret": SECRET} == endpoint.forms[0]
    assert "Authorization" not in endpoint.requests[0].headers


def test_a_password_grant_goes_on_with_its_refresh_token_and_falls_back():
    async def run():
        issuing = tokens(endpoint, USER)
        for _ in range(3):
            known = await issuing.credentials()
            await asyncio.sleep(60)
        return known

    endpoint = Endpoint(
        grant("one-token", expires_in=60, refresh_token="r-1"),
        grant("two-token", expires_in=60, refresh_token="r-2"),
        answer(400, {"error": "invalid_grant"}),
    )
    assert values(virtually(run())) == ["Bearer token-number-4"]
    grants = ["password", "refresh_token", "refresh_token", "password"]
    assert [form["grant_type"] for form in endpoint.forms] == grants
    assert endpoint.forms[0]["password"] == PASSWORD
    assert [form.get("refresh_token") for form in endpoint.forms[1:3]] == ["r-1", "r-2"]


def test_a_token_is_renewed_before_it_expires_while_the_old_one_serves():
    async def run():
        issuing = tokens(endpoint)
        first = await issuing.credentials()
        await asyncio.sleep(51)
        began = now()
        old = await issuing.credentials()
        waited = now() - began
        await asyncio.sleep(0.1)
        return values(first, old, await issuing.credentials()), waited

    endpoint = Endpoint()
    shown, waited = virtually(run())
    assert shown == ["Bearer token-number-1", "Bearer token-number-1", "Bearer token-number-2"]
    assert waited == 0, "nobody waits for a renewal while a token is good"


def test_however_many_ask_there_is_one_renewal_at_a_time():
    async def run():
        issuing = tokens(endpoint)
        await asyncio.gather(*(issuing.credentials() for _ in range(100)))
        await asyncio.sleep(61)
        await asyncio.gather(*(issuing.credentials() for _ in range(100)))

    endpoint = Endpoint()
    virtually(run())
    assert len(endpoint.requests) == 2


def test_a_margin_is_at_most_half_of_a_token_s_life():
    async def run():
        issuing = tokens(endpoint, refresh_margin=600)
        for _ in range(100):
            await issuing.credentials()
            await asyncio.sleep(0.3)

    endpoint = Endpoint(life=10)
    virtually(run())
    assert len(endpoint.requests) == 6, "30 s with tokens of 10 s, renewed after 5"


def test_rejections_renew_once_and_not_again_at_once():
    async def run():
        issuing = tokens(endpoint)
        first = await issuing.credentials()
        renewed = await asyncio.gather(*(issuing.credentials(first.generation) for _ in range(50)))
        again = await issuing.credentials(renewed[0].generation)
        await asyncio.sleep(11)
        later = await issuing.credentials(again.generation)
        assert {known.generation for known in renewed} == {2}, "whoever was refused meanwhile waits"
        return [known.generation for known in (first, *renewed[:1], again, later)]

    endpoint = Endpoint()
    assert virtually(run()) == [1, 2, 2, 3]
    assert len(endpoint.requests) == 3


def test_an_endpoint_in_trouble_is_asked_again():
    endpoint = Endpoint(TransportError("reset"), answer(503, {}), answer(429, {}))
    assert values(virtually(tokens(endpoint).credentials())) == ["Bearer token-number-4"]


def test_an_endpoint_that_stays_away_says_so():
    endpoint = Endpoint(*[TransportError(f"no route for {SECRET}")] * 9)
    with pytest.raises(Unreachable, match="gives no token .* is it up") as caught:
        virtually(tokens(endpoint).credentials())
    assert SECRET not in str(caught.value)


def test_a_refused_client_is_told_which_reference_to_check():
    refusal = {"error": "invalid_client", "error_description": f"bad secret {SECRET} or {PASSWORD}"}
    with pytest.raises(Refused, match=r"\(401, invalid_client, bad secret .*check env:CRM_SECRET") as caught:
        virtually(tokens(Endpoint(*[answer(401, refusal)] * 2), USER).credentials())
    assert SECRET not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"<html>", b"[" * 100_000, b'{"access_token": 7}', b'{"access_token": "a\\r\\nX: y"}']
    + [b'{"access_token": "t", "token_type": "mac"}'],
)
def test_an_answer_without_a_token_is_refused(body):
    with pytest.raises(Refused, match="without a bearer token"):
        virtually(tokens(Endpoint(Response(200, {}, body))).credentials())


@pytest.mark.parametrize("life", [None, "soon", -5, 0, 1e400, float("nan"), [], "60"])
def test_whatever_a_life_is_said_to_be_there_is_a_token(life):
    known = virtually(tokens(Endpoint(life=life)).credentials())
    assert known.expires_in is not None
    assert 0 < known.expires_in < 11 * 365 * 86400


class Api:
    """Refuses every token but the newest that the endpoint gave."""

    def __init__(self, endpoint):
        self.endpoint, self.sent, self.revoked = endpoint, [], set()

    async def __call__(self, request):
        token = request.headers.get("Authorization", "")
        self.sent.append(token)
        await asyncio.sleep(0.01)
        return Response(401 if token in self.revoked else 200, {}, b"")


def test_a_401_refreshes_once_for_all_and_resends():
    async def run():
        auth = Authenticator(tokens(endpoint), "http://api", Redactor(), now)

        async def send():
            request = Request("id", "GET", "http://api/x")
            return await auth.renew(request, lambda asked: auth.authorize(asked, api))

        await send()
        api.revoked.add("Bearer token-number-1")
        return await asyncio.gather(*(send() for _ in range(64)))

    endpoint = Endpoint()
    api = Api(endpoint)
    assert {response.status for response in virtually(run())} == {200}
    assert len(endpoint.requests) == 2
    assert len(api.sent) == 1 + 64 + 64


def test_a_rejection_is_told_though_somebody_asks_already():
    class Slow:
        def __init__(self):
            self.told = []

        async def credentials(self, rejected=None):
            self.told.append(rejected)
            await asyncio.sleep(1)
            generation = 2 if 1 in self.told else 1
            text = Secret(f"Bearer token-number-{generation}")
            return Credentials("header", "Authorization", text, (text,), generation, 2.0, (401,))

    async def run():
        auth = Authenticator(issuing, "http://api", Redactor(), now)

        async def send():
            request = Request("id", "GET", "http://api/x")
            return await auth.renew(request, lambda asked: auth.authorize(asked, slow))

        async def slow(request):
            token = request.headers["Authorization"]
            await asyncio.sleep(2)
            return Response(401 if token.endswith("1") else 200, {}, b"")

        first = asyncio.create_task(send())
        await asyncio.sleep(2.5)
        return [(await first).status, (await asyncio.create_task(send())).status]

    async def both():
        auth = Authenticator(issuing, "http://api", Redactor(), now)
        await auth.credentials(None)
        asking = asyncio.create_task(auth.credentials(None))
        await asyncio.sleep(0.5)
        return (await auth.credentials(1)).generation, (await asking).generation

    issuing = Slow()
    assert virtually(run()) == [200, 200]
    issuing = Slow()
    assert virtually(both()) == (2, 1)
    assert issuing.told == [None, None, 1]


def test_a_token_that_is_refused_always_is_renewed_once():
    async def run():
        auth = Authenticator(tokens(endpoint), "http://api", Redactor(), now)
        for _ in range(20):
            request = Request("id", "GET", "http://api/x")
            assert (await auth.renew(request, lambda asked: auth.authorize(asked, api))).status == 401

    endpoint = Endpoint()
    api = Api(endpoint)
    api.revoked = {f"Bearer token-number-{n}" for n in range(9)}
    virtually(run())
    assert len(endpoint.requests) == 2
    assert len(api.sent) == 21


@pytest.mark.slow
def test_tokens_expire_under_load_and_nobody_is_refused():
    async def run():
        auth = Authenticator(tokens(endpoint), "http://api", Redactor(), now)

        async def one():
            while now() < 1300:
                request = Request("id", "GET", "http://api/x")
                await auth.renew(request, lambda asked: auth.authorize(asked, api))

        await asyncio.gather(*(one() for _ in range(20)))

    endpoint = Endpoint(life=30)
    api = Api(endpoint)
    virtually(run())
    assert len(endpoint.requests) == pytest.approx(300 / 20, abs=1)
    assert len(api.sent) > 300_000


def test_credentials_go_to_their_own_origin_alone():
    async def run():
        auth = Authenticator(tokens(endpoint), "http://api/v1", Redactor(), now)
        for url in ("http://api/v1/x", "http://api:80/other", "http://api.evil/v1/x", "https://api/v1/x"):
            await auth.authorize(Request("id", "GET", url), api)

    endpoint = Endpoint()
    api = Api(endpoint)
    virtually(run())
    assert api.sent == ["Bearer token-number-1", "Bearer token-number-1", "", ""]


def test_every_token_is_known_to_the_redactor_before_it_is_used():
    async def run():
        auth = Authenticator(tokens(endpoint), "http://api", redactor, now)

        async def send(request):
            assert redactor.text(f"{request.headers}") == "{'Authorization': 'Bearer ***'}"
            return Response(200, {}, b"")

        for _ in range(5):
            await auth.authorize(Request("id", "GET", "http://api/x"), send)
            await asyncio.sleep(55)

    endpoint, redactor = Endpoint(), Redactor()
    virtually(run())
    assert len(endpoint.requests) == 5
