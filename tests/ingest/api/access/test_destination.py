"""Credentials go to base_url over TLS; what variables bring into an address is not shown."""

from __future__ import annotations

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.destination import base_url
from asgard_assets.ingest.api.source.secrets import address_shown, carries_a_login, without_logins
from tests.ingest.api.sources import TICKETS, source

BEARER = {"type": "bearer", "token": "env:PROBE_TOKEN"}
CLIENT = {"type": "oauth2_client_credentials", "client_id": "c", "client_secret": "env:PROBE_SECRET"}


def asking(url, auth, **transport):
    return source(TICKETS, endpoint=TICKETS["endpoint"] | {"base_url": url}, auth=auth, transport=transport)


@pytest.mark.parametrize("url", ["http://api.example", "http://10.0.0.7:8080", "${PROBE_URL}"])
def test_credentials_do_not_leave_the_machine_without_tls(monkeypatch, url):
    monkeypatch.setenv("PROBE_URL", "http://api.example")
    with pytest.raises(ConfigError, match="endpoint.base_url begins with http://.*plain_http: true"):
        base_url(asking(url, BEARER))
    assert base_url(asking(url, BEARER, plain_http=True)).startswith("http://")
    assert base_url(asking(url, {"type": "none"})).startswith("http://")


@pytest.mark.parametrize(
    "url", ["https://api.example", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"]
)
def test_they_do_over_tls_or_on_the_machine(url):
    assert base_url(asking(url, BEARER)) == url


def test_a_client_secret_does_not_either():
    with pytest.raises(ConfigError, match="auth.token_url begins with http://"):
        base_url(asking("https://api.example", CLIENT | {"token_url": "http://id.example/token"}))
    with pytest.raises(ConfigError, match="auth.token_url carries a login") as told:
        base_url(asking("https://api.example", CLIENT | {"token_url": "https://u:hidden@id.example/token"}))
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize(
    ("template", "filled", "url", "shown"),
    [
        (
            "https://api/bot${BOT}",
            "https://api/bot123:secret",
            "https://api/bot123:secret/x",
            "https://api/bot${BOT}/x",
        ),
        (
            "${URL}/bot${BOT}",
            "https://api/bot123:secret",
            "https://api/bot123:secret/x",
            "https://api/bot${BOT}/x",
        ),
        (
            "${URL}/a/${BOT}/",
            "https://api/a/123:secret/",
            "https://api/a/123:secret/x",
            "https://api/a/${BOT}/x",
        ),
        ("${URL}", "https://api/v1/services", "https://api/v1/services/x", "https://api/v1/services/x"),
        (
            "https://${REGION}.api",
            "https://eu-west-1.api",
            "https://eu-west-1.api/x",
            "https://eu-west-1.api/x",
        ),
        ("https://api/${V}", "https://api/v1", "https://api/v1/x", "https://api/v1/x"),
    ],
)
def test_a_variable_in_the_path_stays_a_variable(template, filled, url, shown):
    assert address_shown(template, filled)(url) == shown


@pytest.mark.parametrize(
    ("header", "secret"),
    [(h, True) for h in ["PRIVATE-TOKEN", "X-Shopify-Access-Token", "X-Vault-Token", "x-api-key", "Ocp-Apim-Subscription-Key", "X-Amz-Security-Token", "Authorization", "ApiKey", "X-Auth-Key"]]
    + [(h, False) for h in ["X-Next-Page-Token", "Idempotency-Key", "Accept", "X-Request-Id", "WWW-Authenticate", "Access-Control-Allow-Credentials", "X-Partition-Key"]],
)  # fmt: skip
def test_headers_that_carry_a_login_are_known_by_their_words(header, secret):
    assert carries_a_login(header) == secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a/x?api_key=k-1&day=2", "http://a/x?api_key=***&day=2"),
        ("http://a/x?day=2&accessToken=k-1#f", "http://a/x?day=2&accessToken=***#f"),
        ("http://a/x?X-Amz-Signature=ab&X-Amz-Date=1", "http://a/x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("http://a/x?page_token=ab&nextToken=cd", "http://a/x?page_token=ab&nextToken=cd"),
        ("http://a/token=1/x", "http://a/token=1/x"),
    ],
)
def test_parameters_that_carry_a_login_are_masked(url, shown):
    assert without_logins(url) == shown
