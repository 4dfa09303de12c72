"""The driver's service for the workers of one job: credentials, and leases of the job's rate budget.

JSON over TLS with a certificate and a bearer that live as long as the job. A worker trusts that certificate
alone; nobody without the bearer gets an answer. Secrets stay on the driver: what leaves it are access tokens,
or the credentials that go on the wire anyway.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import ssl
import tempfile
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from asgard_assets.ingest.api.access.auth import Credentials, Issuer
from asgard_assets.ingest.api.http.messages import Refused, TransportError, Unreachable
from asgard_assets.ingest.api.http.tls import WireSecrets
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.lease import Lease, Observed
from asgard_assets.ingest.api.source.secrets import Secret

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web

T = TypeVar("T")
_CONNECT_SECONDS = 10
_ISSUE_SECONDS = 120


@dataclass(frozen=True)
class Address:
    """How a worker reaches the service of its job."""

    url: str
    certificate: str
    bearer: Secret


class JobService:
    """Runs in a thread of the driver while the context is open. Raises Refused or Unreachable on entering."""

    def __init__(self, issuer: Issuer, budget: Budget, wire: WireSecrets | None = None):
        self._issuer, self._budget, self._wire = issuer, budget, wire or WireSecrets()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="api-service", daemon=True)
        self._bearer = Secret(secrets.token_urlsafe(32))
        self._expected = f"Bearer {self._bearer.value}".encode()
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            # Whether the credentials are any good is known before a Spark job starts.
            self.call(self._issuer.credentials())
        except BaseException:
            self._stop()
            raise
        return self

    def address(self, host: str = "127.0.0.1", bind: str = "127.0.0.1") -> Address:
        """Listen, and say where; `host` is where workers find the driver."""
        return self.call(self._listen(host, bind))

    def local(self) -> LocalService:
        """The same for a task in this process: nothing listens, and no secret leaves it."""
        return LocalService(self._loop, self._issuer, self._budget, self._wire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the service's loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _stop(self) -> None:
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _listen(self, host: str, bind: str) -> Address:
        from aiohttp import web

        certificate, key = _certificate(host)
        app = web.Application()
        app.router.add_post("/credentials", self._credentials)
        app.router.add_post("/wire", self._wire_secrets)
        app.router.add_post("/lease", self._lease)
        # A worker that goes away while it waits for its turn must not be given one.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, bind, 0, ssl_context=_server_context(certificate, key))
        await site.start()
        port = self._runner.addresses[0][1]
        name = f"[{host}]" if ":" in host else host
        return Address(f"https://{name}:{port}", certificate.decode(), self._bearer)

    def _known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")  # any bytes
        return hmac.compare_digest(given, self._expected)

    async def _credentials(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if not self._known(request):
            return web.Response(status=403)
        rejected = json.loads(await request.read()).get("rejected")
        try:
            known = await self._issuer.credentials(rejected)
        except (Refused, Unreachable) as error:
            return web.json_response({"error": error.message}, status=502)
        return web.json_response(known.to_wire())

    async def _wire_secrets(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if not self._known(request):
            return web.Response(status=403)
        return web.json_response(self._wire.to_wire())

    async def _lease(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if not self._known(request):
            return web.Response(status=403)
        asked = json.loads(await request.read())
        lease = await self._budget.lease(asked["want"], Observed(**asked["seen"]) if asked["seen"] else None)
        return web.json_response(lease.__dict__)


@dataclass(frozen=True, repr=False)
class LocalService:
    """What `ServiceClient` is to a worker, for a task in the driver's own process. The service keeps its loop, so
    that tasks that come later, here or in Spark, have the same tokens and the same budget.
    """

    loop: asyncio.AbstractEventLoop
    issuer: Issuer
    budget: Budget
    secrets: WireSecrets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    async def credentials(self, rejected: int | None = None) -> Credentials:
        try:
            async with asyncio.timeout(_ISSUE_SECONDS):
                return await self._call(self.issuer.credentials(rejected))
        except (Refused, Unreachable) as error:
            raise TransportError(error.message) from error

    async def wire(self) -> WireSecrets:
        return self.secrets

    async def lease(self, want: int, seen: Observed | None) -> Lease:
        return await self._call(self.budget.lease(want, seen))

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


class ServiceClient:
    """The worker's side: an issuer and a lessor. Raises TransportError where the driver is not there."""

    def __init__(self, address: Address):
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        context = ssl.create_default_context(cadata=self._address.certificate)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {self._address.bearer.value}"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def credentials(self, rejected: int | None = None) -> Credentials:
        async with asyncio.timeout(_ISSUE_SECONDS):
            return Credentials.from_wire(await self._post("credentials", {"rejected": rejected}))

    async def wire(self) -> WireSecrets:
        return WireSecrets.from_wire(await self._post("wire", {}))

    async def lease(self, want: int, seen: Observed | None) -> Lease:
        return Lease(**await self._post("lease", {"want": want, "seen": seen.__dict__ if seen else None}))

    async def _post(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        assert self._session is not None
        try:
            async with self._session.post(f"{self._address.url}/{path}", json=question) as answer:
                if answer.status == 502:
                    raise TransportError((await answer.json())["error"])
                answer.raise_for_status()
                return await answer.json()
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"the driver's service does not answer: {error}") from error


def _certificate(host: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for `host` and its key, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "asgard job")])
    try:
        place: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        place = x509.DNSName(host)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of a cluster differ; the bearer and the service end with the job.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([place]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _server_context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # readable by this user alone, and gone at once
        chain = Path(folder, "chain.pem")
        chain.write_bytes(certificate + key)
        context.load_cert_chain(chain)
    return context
