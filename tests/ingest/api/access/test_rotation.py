"""Secrets that are rotated while a load runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.access.auth import Authenticator, authorize
from asgard_assets.ingest.api.access.oauth import issuer
from asgard_assets.ingest.api.access.rotation import Rotating
from asgard_assets.ingest.api.http.messages import Request, Response
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.secrets import Redactor, aws_secrets
from asgard_assets.lake import Lake
from tests.fakes.rest_api import RestApi, serving
from tests.ingest.api.access.test_oauth import Endpoint, answer
from tests.ingest.api.clock import Clock
from tests.ingest.api.sources import TICKETS, USAGE, put_users, source

OLD, NEW = "canary-old-secret", "canary-new-secret"
DAY = "2026-10-05"


class Secret:
    """A secret in a file, or in a store."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.reads, self.broken, self.file = 0, False, folder / "secret"
        self.reference = f"file:{self.file}" if kind == "file" else "aws-secret:shop/crm"
        self.rotate(OLD)

    def rotate(self, value: str) -> None:
        self.value = value
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{value}\n")
        os.replace(fresh, self.file)

    def read(self, name: str) -> str:
        self.reads += 1
        if self.broken:
            raise SourceError(f"{name}: no answer", source=name)
        return self.value


@pytest.fixture(params=["file", "store"])
def secret(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secret]:
    known = Secret(request.param, tmp_path)
    with aws_secrets(known.read):
        yield known


def login(kind: str, reference: str) -> dict[str, object]:
    return {
        "bearer": {"type": "bearer", "token": reference},
        "basic": {"type": "basic", "username": "ann", "password": reference},
        "header": {"type": "api_key", "key": reference, "name": "X-Key"},
        "query": {"type": "api_key", "key": reference, "place": "query", "name": "key"},
        "beside": {"type": "api_key", "key": "env:FIXED", "keys": [{"name": "X-More", "key": reference}]},
    }[kind]


class Api:
    """Takes what the secret is now, and nothing else."""

    def __init__(self, config: ApiSource, status: int) -> None:
        self.config, self.status, self.sent = config, status, list[int]()

    async def __call__(self, request: Request) -> Response:
        right = Rotating(self.config)._known
        expected = authorize(Request("", "GET", "http://api/x"), right)
        for one in right.more:
            expected = authorize(expected, one)
        same = request.url == expected.url and {*request.headers.items()} >= {*expected.headers.items()}
        self.sent.append(200 if same else self.status)
        return Response(self.sent[-1], {}, b"")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", ["bearer", "basic", "header", "query", "beside"])
def test_a_rotated_secret_counts_from_the_next_request_on(
    secret: Secret, monkeypatch, kind: str, status: int
):
    monkeypatch.setenv("FIXED", "canary-fixed")
    config = source(USAGE, auth=login(kind, secret.reference))

    async def run() -> list[int]:
        auth = Authenticator(issuer(config), "http://api", redactor)

        async def send() -> int:
            asked = Request("id", "GET", "http://api/x")
            return (await auth.renew(asked, lambda request: auth.authorize(request, api))).status

        found = [await send()]
        secret.rotate(NEW)
        return [*found, *await asyncio.gather(*(send() for _ in range(8))), await send()]

    api, redactor = Api(config, status), Redactor()
    assert asyncio.run(run()) == [200] * 10
    assert api.sent.count(status) <= 8 and api.sent[-1] == 200
    assert redactor.text(f"{OLD} {NEW}") == "*** ***"


def test_where_the_old_one_still_serves_the_new_one_is_used_after_a_while(secret: Secret):
    async def run() -> list[str]:
        clock = Clock()
        known = Rotating(source(USAGE, auth=login("bearer", secret.reference)), clock)
        found = [await known.credentials()]
        secret.rotate(NEW)
        assert found[0].expires_in is not None
        clock.now += found[0].expires_in
        return [each.secret.value for each in (*found, await known.credentials())]

    assert asyncio.run(run()) == [f"Bearer {OLD}", f"Bearer {NEW}"]


def test_a_secret_that_cannot_be_read_for_a_while_stays_what_it_was(secret: Secret):
    async def run() -> list[str]:
        clock, found = Clock(), list[str]()
        known = Rotating(source(USAGE, auth=login("bearer", secret.reference)), clock)

        async def look() -> None:
            clock.now += 100
            found.append((await known.credentials()).secret.value)

        secret.broken = True
        secret.file.unlink()
        await look()
        secret.broken, secret.value = False, ""
        secret.file.write_text("")
        await look()
        secret.rotate(NEW)
        await look()
        return found

    assert asyncio.run(run()) == [f"Bearer {OLD}", f"Bearer {OLD}", f"Bearer {NEW}"]


def test_a_key_that_is_refused_for_good_is_read_once_a_second(secret: Secret):
    async def run() -> int:
        clock = Clock()
        known = Rotating(source(USAGE, auth=login("bearer", secret.reference)), clock)
        first = await known.credentials()
        for _ in range(50):
            assert (await known.credentials(first.generation)).generation == first.generation
        return secret.reads

    assert asyncio.run(run()) in (0, 2)


def test_a_secret_that_is_missing_at_the_start_stops_the_load(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        issuer(source(USAGE, auth=login("bearer", f"file:{tmp_path}/none")))


def test_the_next_token_is_got_with_the_secret_of_then(secret: Secret, monkeypatch: pytest.MonkeyPatch):
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": "http://idp/token",
        "client_id": "crm",
        "client_secret": secret.reference,
        "client_auth": "body",
        "refresh_margin": 1,
    }
    from asgard_assets.ingest.api.access.oauth import TokenSource

    endpoint, clock = Endpoint(life=60.0), Clock()
    config = source(USAGE, auth=auth)
    tokens = TokenSource("crm", config.auth, endpoint, clock, clock.sleep)  # type: ignore[arg-type]

    async def run() -> None:
        await tokens.credentials()
        secret.rotate(NEW)
        clock.now += 100
        await tokens.credentials()
        endpoint.script = [answer(401, {"error": "invalid_client", "error_description": f"not {NEW}"})]
        clock.now += 100
        with pytest.raises(Exception, match=r"not \*\*\*"):
            await tokens.credentials()

    asyncio.run(run())
    assert [form["client_secret"] for form in endpoint.forms[:2]] == [OLD, NEW]


def no_spark():
    raise AssertionError("this process sends the requests")


class Strict(RestApi):
    """Takes one token, and another after so many requests: the secret is rotated in the midst of a load."""

    def __init__(self, secret: Secret, after: int) -> None:
        super().__init__()
        self.secret, self.left, self.refused = secret, after, 0

    async def _arrived(self, request: web.Request) -> None:
        self.left -= 1
        if self.left == 0:
            self.secret.rotate(NEW)
        if request.headers.get("Authorization") != f"Bearer {self.secret.value}":
            self.refused += 1
            raise web.HTTPUnauthorized
        self.requests[request.path_qs] += 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["one process", "Spark"])
def test_a_secret_rotated_in_the_middle_of_a_running_load_costs_no_row(
    secret: Secret, lake: Lake, monkeypatch, request: pytest.FixtureRequest, workers: str
):
    put_users(lake, 200)
    with serving(Strict(secret, after=80)) as api:
        monkeypatch.setenv("TEST_API", api.url)
        spark = request.getfixturevalue("spark") if workers == "Spark" else no_spark
        config = source(USAGE, auth=login("bearer", secret.reference), limits={"requests_per_second": 400})
        summary = run_pipeline(spark, config, days=[DAY], lake=lake)
    with lake.connect() as connection:
        found = connection.execute("select count(*) filter (success), count(*) from bronze.usage").fetchone()
    assert found == (200, 200), summary
    assert api.secret.value == NEW and 0 < api.refused < 200
    assert set(api.requests.values()) == {1}


def test_pages_go_on_with_the_new_secret(secret: Secret, lake: Lake, monkeypatch: pytest.MonkeyPatch):
    with serving(Strict(secret, after=3)) as api:
        api.tickets = 12
        monkeypatch.setenv("TEST_API", api.url)
        run_pipeline(no_spark, source(TICKETS, auth=login("bearer", secret.reference)), days=[DAY], lake=lake)
    with lake.connect() as connection:
        assert connection.execute("select count(*) from bronze.tickets").fetchone() == (12,)
    assert api.refused == 1
