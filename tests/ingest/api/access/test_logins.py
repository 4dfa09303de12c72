"""Logins of many kinds: several keys, keys in a body or cookie, sessions, digest, signatures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.api.access.auth import Authenticator, Credentials, Fixed, credentials, references
from asgard_assets.ingest.api.access.cookies import fresh_jar, keep_cookies
from asgard_assets.ingest.api.access.signing import Digest, signed
from asgard_assets.ingest.api.http.messages import Request, Response, joined
from asgard_assets.ingest.api.preview import preview
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.schemes import HmacAuth
from asgard_assets.ingest.api.source.secrets import Redactor
from asgard_assets.lake import Lake
from tests.fakes.lists_api import ListsApi
from tests.fakes.rest_api import serving

ONE, TWO = "secret-one-1", "secret-two-2"


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("KEY_ONE", ONE)
    monkeypatch.setenv("KEY_TWO", TWO)


def source(auth, **endpoint):
    return ApiSource.model_validate(
        {
            "name": "s",
            "form": {"type": "pull", "items": "data", "pagination": {"type": "next_url"}, "key": {"id": "bigint"}},
            "endpoint": {"base_url": "http://api", "path": "/x"} | endpoint,
            "auth": auth,
            "sink": {"table": "bronze/s"},
            "quality": {"description": "A list."},
        }
    )  # fmt: skip


def on_the_wire(auth, request=None, answers=()):
    """What a request looks like after it was authorized."""
    config, seen, left = source(auth), [], list(answers)
    known = Credentials.from_wire(json.loads(json.dumps(credentials(config).to_wire())))
    layer = Authenticator(
        Fixed(known), "http://api", Redactor(), auth=config.auth, wall=lambda: 1_700_000_000.0
    )

    async def send(asked):
        seen.append(asked)
        return left.pop(0) if left else Response(200, {}, b"")

    asyncio.run(layer.authorize(request or Request("1", "GET", "http://api/x?a=1"), send))
    return seen


def test_several_keys_go_out_together():
    keys = [
        {"name": "X-Api-Key", "key": "env:KEY_ONE"},
        {"name": "app", "key": "env:KEY_TWO", "place": "query"},
        {"name": "sid", "key": "env:KEY_TWO", "place": "cookie"},
    ]
    (sent,) = on_the_wire({"type": "api_keys", "keys": keys})
    assert sent.headers == {"X-Api-Key": ONE, "Cookie": f"sid={TWO}"}
    assert sent.url == f"http://api/x?a=1&app={TWO}"


def test_a_further_key_stands_beside_any_login():
    auth = {"type": "bearer", "token": "env:KEY_ONE", "keys": [{"name": "X-App", "key": "env:KEY_TWO"}]}
    (sent,) = on_the_wire(auth)
    assert sent.headers == {"Authorization": f"Bearer {ONE}", "X-App": TWO}
    config = source(auth)
    assert references(config) == ("env:KEY_ONE", "env:KEY_TWO")
    assert {secret.value for secret in credentials(config).hidden} == {ONE, TWO}


def test_a_key_may_stand_in_the_body():
    auth = {"type": "api_key", "key": "env:KEY_ONE", "place": "body", "name": "login.key"}
    (sent,) = on_the_wire(auth, Request("1", "POST", "http://api/x", {}, b'{"login": {"user": "u"}}'))
    assert json.loads(sent.body) == {"login": {"user": "u", "key": ONE}}


def test_a_secret_written_into_keys_is_in_no_error():
    with pytest.raises(ValidationError) as caught:
        source({"type": "api_keys", "keys": [{"name": "X", "key": "plain-secret-7"}]})
    assert "plain-secret-7" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("hex", bytes.hex), ("base64", lambda d: base64.b64encode(d).decode())]
)
def test_requests_are_signed(encoding, shown):
    auth = {"type": "hmac", "key": "env:KEY_ONE", "encoding": encoding, "prefix": "v1=",
            "sign": "{timestamp}.{method}.{path}?{query}.{body_sha256}"}  # fmt: skip
    (sent,) = on_the_wire(auth, Request("1", "POST", "http://api/x?a=1", {}, b"{}"))
    text = f"1700000000.POST./x?a=1.{hashlib.sha256(b'{}').hexdigest()}"
    digest = hmac.new(ONE.encode(), text.encode(), "sha256").digest()
    assert sent.headers == {"X-Signature": f"v1={shown(digest)}", "X-Timestamp": "1700000000"}


def test_a_body_with_braces_is_signed_as_it_is():
    how = HmacAuth.model_validate({"type": "hmac", "key": "env:K", "sign": "{body}", "timestamp_name": None})
    sent = signed(Request("1", "POST", "http://api", {}, b'{"method": 1}'), how, b"k", 0)
    assert sent.headers["X-Signature"] == hmac.new(b"k", b'{"method": 1}', "sha256").hexdigest()


def test_digest_answers_as_the_rfc_does():
    """RFC 7616, 3.9.1."""
    digest = Digest("Mufasa", "Circle of Life", lambda: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert digest.challenged(
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    sent = digest.authorize(Request("1", "GET", "http://www.example.org/dir/index.html"))
    assert "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" in sent.headers["Authorization"]
    assert "nc=00000001" in sent.headers["Authorization"]
    assert "nc=00000002" in digest.authorize(sent).headers["Authorization"]


def test_a_digest_challenge_is_answered_once():
    challenge = Response(401, {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"'}, b"")
    auth = {"type": "digest", "username": "u", "password": "env:KEY_ONE"}
    first, second = on_the_wire(auth, answers=[challenge])
    assert "Authorization" not in first.headers
    assert second.headers["Authorization"].startswith('Digest username="u"')
    assert len(on_the_wire(auth, answers=[challenge, challenge])) == 2
    assert len(on_the_wire(auth, answers=[Response(401, {"www-authenticate": "Bearer"}, b"")])) == 1


def test_a_walk_sends_back_its_cookies(tmp_path):
    with serving(ListsApi()) as api:
        lake = Lake(str(tmp_path / "lake"))
        config = source({"type": "none"}, base_url=api.url, path="/items/session")
        plain = config.model_copy(update={"endpoint": config.endpoint.model_copy(update={"cookies": False})})
        broken = preview(lake, plain, "2026-10-05", count=9).rows
        found = preview(lake, config, "2026-10-05", count=9).rows
    assert broken[-1]["status_code"] == 409
    assert len(found) == 25
    assert all(row["success"] for row in found)
    assert "walk=7" not in json.dumps([dict(row) for row in found], default=str)


def test_cookies_stay_with_their_origin_and_end_when_they_are_taken_back():
    sent = []

    async def ask(url, *lines):
        async def send(request):
            sent.append(request.headers.get("Cookie"))
            return Response(
                200,
                joined({"set-cookie": lines[-1]}, [("set-cookie", x) for x in lines]) if lines else {},
                b"",
            )

        await keep_cookies(Request("1", "GET", url), send)

    async def walk():
        fresh_jar()
        await ask("http://a/", "s=1; Path=/; Expires=Wed, 09 Jun 2100 10:18:14 GMT", "t=x=y; Secure")
        await ask("http://b/")
        await ask("http://a/2", "s=; Max-Age=0", "t=; Expires=Wed, 09 Jun 2021 10:18:14 GMT")
        await ask("http://a/3")
        fresh_jar()
        await ask("http://a/4")

    asyncio.run(walk())
    assert sent == [None, None, "s=1; t=x=y", None, None]
