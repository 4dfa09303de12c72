"""Certificates and proxies: one suite for both transports."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.http.client import transport
from asgard_assets.ingest.api.http.messages import Request, TransportError
from asgard_assets.ingest.api.http.tls import wire_secrets
from tests.fakes.authority import Authority
from tests.ingest.api.sources import USAGE, source
from tests.patience import patience

PASSPHRASE = "canary-passphrase-77e1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), PASSPHRASE)


@pytest.fixture(params=["aiohttp", "native"])
def kind(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("KEY_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("PROXY_PASSWORD", "canary-proxy-1")


async def _pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def send(kind, wire, context: ssl.SSLContext | None = None, proxied=False, proxy_status=b"200 OK"):
    """One request to a server with `context`, perhaps through a proxy; (answer, names of clients, proxy heads)."""
    clients, proxy_heads = [], []

    async def serve(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        shown = writer.get_extra_info("peercert") or {}
        clients.append(dict(pair[0] for pair in shown.get("subject", ())).get("commonName"))
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def proxy(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        proxy_heads.append(head)
        if not proxy_status.startswith(b"200"):
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % proxy_status)
            await writer.drain()
            writer.close()
            return
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        port = int(place.rsplit(b":", 1)[1])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head)
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        between = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port, through = (s.sockets[0].getsockname()[1] for s in (server, between))
        section = {"type": kind, "timeouts": {"total_seconds": patience(4)}, **wire}
        if proxied:
            section["proxy"] = {"url": f"http://127.0.0.1:{through}", **wire.get("proxy", {})}
        try:
            async with transport(source(USAGE, transport=section)) as client:
                scheme = "https" if context else "http"
                return await client.send(Request("id", "GET", f"{scheme}://127.0.0.1:{port}/x"))
        finally:
            server.close()
            between.close()

    return asyncio.run(main()), clients, proxy_heads


def test_a_server_of_a_private_authority_needs_its_bundle(kind, authority):
    tls = {"ca_bundle": authority.path("ca.pem")}
    answer, _, _ = send(kind, {"tls": tls}, authority.server_context())
    assert answer.status == 200
    with pytest.raises(TransportError, match=r"(?i)certificate"):
        send(kind, {}, authority.server_context())


def test_a_check_can_be_switched_off_for_development(kind, authority):
    answer, _, _ = send(kind, {"tls": {"verify": False}}, authority.server_context())
    assert answer.status == 200


def test_a_client_certificate_with_an_encrypted_key_is_shown(kind, authority):
    tls = {
        "ca_bundle": authority.path("ca.pem"),
        "certificate": authority.path("client.pem"),
        "key": authority.path("client.key"),
        "key_passphrase": "env:KEY_PASSPHRASE",
    }
    answer, clients, _ = send(kind, {"tls": tls}, authority.server_context(client_wanted=True))
    assert (answer.status, clients) == (200, ["test client"])


def test_without_a_client_certificate_there_is_no_answer(kind, authority):
    tls = {"ca_bundle": authority.path("ca.pem")}
    with pytest.raises(TransportError):
        send(kind, {"tls": tls}, authority.server_context(client_wanted=True))


@pytest.mark.parametrize("secure", [False, True])
def test_a_proxy_is_used_with_its_password(kind, authority, secure):
    wire = {
        "tls": {"ca_bundle": authority.path("ca.pem")},
        "proxy": {"username": "ann", "password": "env:PROXY_PASSWORD"},
    }
    answer, _, heads = send(kind, wire, authority.server_context() if secure else None, proxied=True)
    assert answer.status == 200
    assert heads[0].startswith(b"CONNECT " if secure else b"GET http://")
    assert base64.b64encode(b"ann:canary-proxy-1") in heads[0]


def test_a_proxy_that_refuses_is_an_error_without_its_password(kind, authority):
    wire = {
        "tls": {"ca_bundle": authority.path("ca.pem")},
        "proxy": {"username": "ann", "password": "env:PROXY_PASSWORD"},
    }
    with pytest.raises(TransportError) as caught:
        send(kind, wire, authority.server_context(), True, b"403 Forbidden")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key_passphrase": "env:WRONG"}, "do key, passphrase and certificate belong together"),
        ({"certificate": "/no/such/file"}, "there is no file /no/such/file"),
        ({"key": None}, "do key, passphrase and certificate belong together"),
    ],
)
def test_certificates_that_do_not_fit_are_found_before_the_job(authority, monkeypatch, changes, message):
    monkeypatch.setenv("WRONG", "canary-wrong-pass")
    tls = {
        "certificate": authority.path("client.pem"),
        "key": authority.path("client.key"),
        "key_passphrase": "env:KEY_PASSPHRASE",
    }
    with pytest.raises(ConfigError, match=message) as caught:
        wire_secrets(source(USAGE, transport={"tls": tls | changes}))
    assert "canary" not in str(caught.value)


def test_a_key_needs_a_certificate_and_a_proxy_no_credentials_in_its_address():
    with pytest.raises(ValueError, match="a key needs its certificate"):
        source(USAGE, transport={"tls": {"key": "/k.pem"}})
    with pytest.raises(ValueError, match="proxy") as caught:
        source(USAGE, transport={"proxy": {"url": "http://ann:canary-pw@proxy:3128"}})
    assert "canary" not in str(caught.value)
