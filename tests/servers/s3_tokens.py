"""A door before an S3 server that opens only for session tokens of now. It hands them out as a container's role does, as
an instance's, and as the answer to a web identity.

`python -m tests.servers.s3_tokens UPSTREAM PORT ACCESS SECRET SECONDS REVOKE`: a token lives SECONDS. The first PUT
whose path contains REVOKE finds its token revoked, in the middle of what it belongs to.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import aiohttp
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from tests.patience import patience
from tests.servers.builds import answers, free_port
from tests.servers.s3 import S3, s3

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}
SIGNED = {"authorization", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256", "host", "expect"}


KEYS = {"AccessKeyId": "DOORKEY", "SecretAccessKey": "door-secret"}
ROLE, WEB_TOKEN = "arn:aws:iam::123456789012:role/lake", "who-the-pod-is"
WAYS = ("session", "profile", "web", "container", "instance")
"""In which a process comes by keys."""


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class Tokens:
    """Those that are out, with their ends."""

    def __init__(self, seconds: float, revoke: str) -> None:
        self.seconds, self.revoke = seconds, revoke
        self.ends: dict[str, datetime] = {}
        self.revoked = set[str]()
        self.counts = {"asked": 0, "issued": 0, "expired": 0, "refused": 0, "revoked": 0, "passed": 0}

    def issue(self) -> tuple[str, datetime]:
        """The newest, where it has half of its life before it; else another one."""
        now = datetime.now(UTC)
        self.counts["asked"] += 1
        for token, end in reversed(self.ends.items()):
            if token not in self.revoked and (end - now).total_seconds() > self.seconds / 2:
                return token, end
        token = uuid.uuid4().hex
        self.ends[token] = now + timedelta(seconds=self.seconds)
        self.counts["issued"] += 1
        return token, self.ends[token]

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        token = request.headers.get("x-amz-security-token", "")
        if self.revoke and request.method == "PUT" and self.revoke in request.path and token in self.ends:
            self.revoke = ""
            self.revoked.add(token)
            self.counts["revoked"] += 1
        if token not in self.ends or token in self.revoked:
            self.counts["refused"] += 1
            return 403, "AccessDenied"
        if self.ends[token] <= datetime.now(UTC):
            self.counts["expired"] += 1
            return 400, "ExpiredToken"
        self.counts["passed"] += 1
        return None


def resigned(
    request: web.Request, upstream: str, body: bytes, access: str, secret: str
) -> tuple[dict[str, str], bytes]:
    """Headers and body as they go on, signed with the server's own keys: its users have no tokens."""
    kept = {k.lower(): v for k, v in request.headers.items() if k.lower() not in HOP | SIGNED}
    if "aws-chunked" in kept.get("content-encoding", ""):
        body = unchunked(body)
        for name in ("content-encoding", "x-amz-trailer", "x-amz-decoded-content-length"):
            kept.pop(name, None)
    asked = AWSRequest(request.method, upstream + request.raw_path, kept, body)
    S3SigV4Auth(Credentials(access, secret), "s3", "us-east-1").add_auth(asked)
    return dict(asked.headers.items()), body


def unchunked(body: bytes) -> bytes:
    """What aws-chunked wraps (AWS, "Signature calculations for multiple chunks")."""
    content = b""
    while True:
        head, _, body = body.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return content
        content, body = content + body[:size], body[size + 2 :]


def application(upstream: str, access: str, secret: str, tokens: Tokens) -> web.Application:
    async def credentials(_: web.Request) -> web.Response:
        token, end = tokens.issue()
        told = {"Code": "Success", "Type": "AWS-HMAC", **KEYS, "Token": token}
        return web.json_response({**told, "LastUpdated": stamp(datetime.now(UTC)), "Expiration": stamp(end)})

    async def web_identity(request: web.Request) -> web.Response:
        asked = {**request.query, **await request.post()}
        if asked.get("WebIdentityToken") != WEB_TOKEN:
            return web.Response(
                status=403, text="<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
            )
        token, end = tokens.issue()
        keys = f"<AccessKeyId>{KEYS['AccessKeyId']}</AccessKeyId><SecretAccessKey>{KEYS['SecretAccessKey']}</SecretAccessKey>"
        return web.Response(
            content_type="text/xml",
            text='<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{keys}<SessionToken>{token}</SessionToken>"
            f"<Expiration>{stamp(end)}</Expiration></Credentials><AssumedRoleUser><Arn>{ROLE}</Arn>"
            "<AssumedRoleId>a:s</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>"
            "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>",
        )

    async def instance(request: web.Request) -> web.Response:
        path = request.match_info["path"].lstrip("/")
        if path == "latest/api/token":
            headers = {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}
            return web.Response(text="instance", headers=headers)
        if path == "latest/meta-data/iam/security-credentials/":
            return web.Response(text="role")
        if path == "latest/meta-data/iam/security-credentials/role":
            return await credentials(request)
        return web.Response(status=404)

    async def counts(_: web.Request) -> web.Response:
        ended = sum(end <= datetime.now(UTC) for end in tokens.ends.values())
        return web.json_response({**tokens.counts, "ended": ended})

    async def revoke(_: web.Request) -> web.Response:
        tokens.revoked.update(tokens.ends)
        return web.Response()

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if refused := tokens.refusal(request):
            status, code = refused
            text = f"<Error><Code>{code}</Code><Message>no token of now</Message></Error>"
            return web.Response(status=status, text=text, content_type="application/xml")
        session: aiohttp.ClientSession = request.app["session"]
        headers, body = resigned(request, upstream, body, access, secret)
        url = URL(upstream + request.raw_path, encoded=True)
        asked = session.request(request.method, url, headers=headers, data=body, allow_redirects=False)
        async with asked as answer:
            content = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
                return web.Response(status=answer.status, headers=kept)
            return web.Response(status=answer.status, headers=kept, body=content)

    async def session(app: web.Application):
        async with aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("User-Agent", "Accept", "Content-Type")
        ) as opened:
            app["session"] = opened
            yield

    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(session)
    app.router.add_get("/-/credentials", credentials)
    app.router.add_get("/-/counts", counts)
    app.router.add_get("/-/revoke", revoke)
    app.router.add_post("/", web_identity)  # the JVM's client drops the path of its endpoint
    app.router.add_route("*", "/-/instance/{path:.*}", instance)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def serve(upstream: str, port: int, access: str, secret: str, seconds: float, revoke: str) -> None:
    runner = web.AppRunner(
        application(upstream, access, secret, Tokens(seconds, revoke)), auto_decompress=False
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


@contextmanager
def guarded(folder: Path, *buckets: str, seconds: float = 60, revoke: str = "") -> Iterator[Guarded]:
    """The S3 server behind the door; its environment names where tokens come from, and no key."""
    with s3(folder, *buckets) as server:
        port = free_port()
        command = [sys.executable, "-m", "tests.servers.s3_tokens", server.endpoint, str(port)]
        command += [server.access_key, server.secret_key, str(seconds), revoke]
        process = subprocess.Popen(command, env=dict(os.environ))
        door = Guarded(f"http://127.0.0.1:{port}", "", "")
        try:
            end = time.monotonic() + patience(60)
            while not answers(f"{door.endpoint}/-/counts"):
                assert process.poll() is None and time.monotonic() < end, "the door did not open"
                time.sleep(0.05)
            yield door
        finally:
            process.kill()  # it keeps nothing
            process.wait(patience(10))


class Guarded(S3):
    @property
    def environment(self) -> dict[str, str]:
        return self.way("container")

    def way(self, name: str, folder: Path = Path()) -> dict[str, str]:
        """The environment of a process that comes by its keys in one of WAYS; `folder` is for the files it reads."""
        none = str(folder / "none")
        usual = {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": self.region,
            "AWS_CONFIG_FILE": none,
            "AWS_SHARED_CREDENTIALS_FILE": none,
            "ASGARD_S3_ENDPOINT": self.endpoint,
            "ASGARD_S3_REGION": self.region,
        }
        keys = {"aws_access_key_id": KEYS["AccessKeyId"], "aws_secret_access_key": KEYS["SecretAccessKey"]}
        if name == "session":
            lent = {**keys, "aws_session_token": self.token()}
            return usual | {key.upper(): value for key, value in lent.items()}
        if name == "profile":
            lines = [f"{key} = {value}" for key, value in {**keys, "aws_session_token": self.token()}.items()]
            (folder / "credentials").write_text("\n".join(["[work]", *lines, ""]))
            return usual | {"AWS_PROFILE": "work", "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}
        if name == "web":
            (folder / "web-token").write_text(WEB_TOKEN)
            return usual | {
                "AWS_ROLE_ARN": ROLE,
                "AWS_ROLE_SESSION_NAME": "test",
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "web-token"),
                "AWS_ENDPOINT_URL_STS": self.endpoint,
            }
        if name == "instance":
            return usual | {
                "AWS_EC2_METADATA_DISABLED": "false",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.endpoint}/-/instance/",
            }
        return usual | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.endpoint}/-/credentials"}

    def token(self) -> str:
        with urlopen(f"{self.endpoint}/-/credentials") as answer:
            return json.load(answer)["Token"]

    def revoke(self) -> None:
        """Revoke every token that is out."""
        with urlopen(f"{self.endpoint}/-/revoke"):
            return

    def counts(self) -> dict[str, int]:
        with urlopen(f"{self.endpoint}/-/counts") as answer:
            return json.load(answer)


if __name__ == "__main__":
    asyncio.run(
        serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5]), sys.argv[6])
    )
