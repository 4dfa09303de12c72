"""A gateway on a home of its own, with the servers that it needs, as `asgard serve` runs it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.end_to_end.homes import Home, free_port, listens
from tests.patience import ended, patience, wait_until


@contextmanager
def shop_api(lists: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """An API that answers each list under its path as {"data": […]}; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            found = lists.get(self.path.strip("/").partition("?")[0])
            body = json.dumps({"data": found}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def airbyte(home: Home) -> Iterator[None]:
    """The local Airbyte server of a home."""
    arguments = ["--port", str(home.airbyte_port), "--landing", str(home.path / "landing" / "airbyte")]
    arguments += ["--state", str(home.path / "airbyte"), "--date", "2026-10-05"]
    process = home.start("python", "-m", "deployments.local.airbyte.server", *arguments)
    try:
        wait_until(lambda: listens(home.airbyte_port), 60, "the local Airbyte answers")
        yield
    finally:
        ended(process, 15)


@contextmanager
def gateway(home: Home, port: int = 0, **extra: str) -> Iterator[httpx.Client]:
    """`asgard serve` in a home; yields a client of it."""
    port = port or free_port()
    process = home.start("asgard", "serve", "--port", str(port), **extra)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, 120, "the gateway answers")
        alone = httpx.Limits(max_keepalive_connections=0)  # a connection may end while a slow test looks away
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=patience(120), trust_env=False, limits=alone) as client:
            yield client
    finally:
        ended(process, 30)


@contextmanager
def platform(folder: Path) -> Iterator[tuple[Home, httpx.Client]]:
    """A home with Airbyte and gateway."""
    home = Home(folder / "home")
    home.path.mkdir(parents=True)
    with ExitStack() as stack:
        stack.enter_context(airbyte(home))
        yield home, stack.enter_context(gateway(home))
