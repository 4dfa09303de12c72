"""An HTTP proxy before an S3 server that refuses conditional puts of Delta commits, or loses their answers.

`python -m tests.servers.s3_faults UPSTREAM PORT SEED`: of the conditional puts below `_delta_log`, one in ten is
answered with 412 though nothing was written, and one in ten is written and its connection cut. All requests are counted.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from tests.checkout import ROOT
from tests.servers.builds import answers, free_port

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}
counts = {"refused": 0, "lost": 0, "passed": 0, "requests": 0}


def application(upstream: str, seed: int) -> web.Application:
    dice = random.Random(seed)

    async def forward(request: web.Request) -> web.StreamResponse:
        if request.path == "/-/faults":
            return web.json_response(counts)
        counts["requests"] += 1
        body = await request.read()
        commit = (
            request.method == "PUT" and "/_delta_log/" in request.path and "If-None-Match" in request.headers
        )
        chance = dice.random() if commit else 1.0
        if chance < 0.1:
            counts["refused"] += 1
            text = "<Error><Code>PreconditionFailed</Code><Message>injected</Message></Error>"
            return web.Response(status=412, text=text, content_type="application/xml")
        session: aiohttp.ClientSession = request.app["session"]
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP - {"content-length"}}
        url = upstream + request.raw_path
        async with session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            content = await answer.read()
            if chance < 0.2 and answer.status == 200:
                counts["lost"] += 1
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
            counts["passed"] += commit
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
                return web.Response(status=answer.status, headers=kept)
            return web.Response(status=answer.status, headers=kept, body=content)

    async def session(app: web.Application):
        async with aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("User-Agent", "Accept")
        ) as opened:
            app["session"] = opened
            yield

    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def serve(upstream: str, port: int, seed: int) -> None:
    runner = web.AppRunner(application(upstream, seed), auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


@contextmanager
def faulty(upstream: str, seed: int) -> Iterator[tuple[str, Callable[[], dict[str, int]]]]:
    """The proxy as a process of its own: its address, and what it did so far."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.servers.s3_faults", upstream, str(port), str(seed)]
    print(f"faults of seed {seed}")
    process = subprocess.Popen(command, cwd=ROOT)

    def faults() -> dict[str, int]:
        with urllib.request.urlopen(f"{endpoint}/-/faults") as answer:
            return json.load(answer)

    try:
        while not answers(f"{endpoint}/-/faults"):
            assert process.poll() is None, "the proxy ended"
            time.sleep(0.1)
        yield endpoint, faults
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
