"""A development server that answers as Airbyte does and runs real connectors. It is not Airbyte.

    python -m deployments.local.airbyte.server --port 8001 --landing DIR --state DIR --date 2026-10-05

It listens on 127.0.0.1 alone, lets in who has the token that it makes at its start, and ends with the process
named by `--parent`. Killed at any moment it leaves the landing files of finished syncs and of checkpoints, whole, and
nothing else; started again it takes up the jobs that were running, each from its last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
import time
from datetime import date
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from asgard_assets.errors import AsgardError
from asgard_assets.settings import Settings
from deployments.local.airbyte import door
from deployments.local.airbyte.api import NOTICE, Api
from deployments.local.airbyte.connector import ConnectorError, Limits
from deployments.local.airbyte.door import Refused
from deployments.local.airbyte.install import command
from deployments.local.airbyte.jobs import Store
from deployments.local.airbyte.login import Login, shown
from deployments.local.airbyte.registry import Registry
from deployments.local.airbyte.syncs import Syncs
from deployments.local.airbyte.workspace import DEFAULT, Workspace

log = logging.getLogger(__name__)

HOST = "127.0.0.1"


class Handler(BaseHTTPRequestHandler):
    """HTTP around `Api.answer`; every answer is JSON."""

    protocol_version = "HTTP/1.1"
    server_version = "asgard-airbyte-development"
    timeout = 60  # seconds between two bytes of a request, and of an idle connection
    api: Api

    def _answer(self) -> None:
        url = urlsplit(self.path)
        status, value = HTTPStatus.OK, None
        try:
            content = self._content(url.path)
            body = _body(self.headers.get("Content-Type") or "", content)
            login = self.headers.get("Authorization") or ""
            value = self.api.answer(self.command, url.path, parse_qs(url.query), body, login)
            status = HTTPStatus.OK if value is not None else HTTPStatus.NO_CONTENT
        except orjson.JSONDecodeError:
            status, value = HTTPStatus.BAD_REQUEST, _problem(HTTPStatus.BAD_REQUEST, "the body is no JSON")
        except Refused as refused:
            status, value = refused.status, _problem(refused.status, str(refused))
        except (ConnectorError, AsgardError, OSError) as error:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            value = _problem(status, str(error))
            log.warning("%s %s: %s", self.command, self.path, error)
        answer = b"" if value is None else orjson.dumps(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        if status == HTTPStatus.UNAUTHORIZED:  # a browser that follows a link to a job asks for the token
            self.send_header(
                "WWW-Authenticate", 'Basic realm="local Airbyte: user asgard, password its token"'
            )
        self.end_headers()
        self.wfile.write(answer)

    def _content(self, path: str) -> bytes:
        """The request's body. Raises Refused, and ends the connection, where the request is not listened to."""
        try:
            size = door.length(self.headers)
            content = self.rfile.read(size)
            door.check(self.command, path, self.headers)
        except (Refused, OSError):
            self.close_connection = True
            raise
        return content

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _body(kind: str, content: bytes) -> Any:
    """JSON, whatever the request calls it; or a form, in which some clients ask for tokens."""
    if kind.startswith("application/x-www-form-urlencoded") and not content.lstrip().startswith(b"{"):
        return {name: values[0] for name, values in parse_qs(content.decode()).items()}
    return orjson.loads(content) if content else None


def _problem(status: HTTPStatus, detail: str) -> dict[str, Any]:
    return {"status": int(status), "title": status.phrase, "detail": detail, "message": detail}


def listen(syncs: Syncs, port: int, login: Login) -> ThreadingHTTPServer:
    """A server that is bound but does not serve yet; port 0 takes a free one."""
    handler = type("BoundHandler", (Handler,), {})
    server = ThreadingHTTPServer((HOST, port), handler)
    handler.api = Api(syncs, f"http://{HOST}:{server.server_address[1]}", login)
    server.daemon_threads = True
    return server


def serve(syncs: Syncs, port: int, parent: int | None = None) -> None:
    """Serve until a signal, or until the parent process is gone."""
    token = secrets.token_urlsafe(32)
    server = listen(syncs, port, Login.of(token))
    url = f"http://{HOST}:{server.server_address[1]}"
    token_file = Settings().local_airbyte_token(url)
    assert token_file

    def stop(*_: object) -> None:
        # shutdown() waits for the loop, which this handler has interrupted: so from another thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if parent is not None:
        threading.Thread(target=_follow, args=(parent, stop), daemon=True).start()
    syncs.resume()
    threading.Thread(target=_discover, args=(syncs,), daemon=True).start()
    log.info("%s, token in %s: %s", url, token_file, NOTICE)
    try:
        with shown(token, token_file):  # the port is taken already, so no other server's token is overwritten
            server.serve_forever(poll_interval=0.1)
    finally:
        syncs.stop()
        server.server_close()


def _follow(parent: int, stop: Any) -> None:
    """Stop when the parent is gone: a child is given another parent, any other process no longer answers."""
    child = os.getppid() == parent
    while True:
        time.sleep(0.5)
        if child:
            gone = os.getppid() != parent
        else:
            try:
                os.kill(parent, 0)
                gone = False
            except ProcessLookupError:
                gone = True
        if gone:
            log.info("parent process %d is gone", parent)
            stop()
            return


def _discover(syncs: Syncs) -> None:
    """Install connectors and ask them for their streams before anybody waits for the answer."""
    for connection in syncs.registry.by_id().values():
        try:
            syncs.discover(connection.source_id)
        except (ConnectorError, AsgardError, OSError) as error:  # who asks later is told again
            log.warning("connection %s: %s", connection.name, error)


def main() -> int:
    settings = Settings()
    parser = argparse.ArgumentParser(description=NOTICE)
    parser.add_argument("--port", type=int, default=8001)
    landing = Path(settings.landing_root) / "airbyte"
    parser.add_argument("--landing", type=Path, default=landing, help="where each stream gets a folder")
    parser.add_argument(
        "--state", type=Path, default=settings.home.absolute() / "airbyte", help="jobs, logs, states"
    )
    parser.add_argument(
        "--date", type=date.fromisoformat, help="day stamped on file names; default: today, UTC"
    )
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process is gone")
    parser.add_argument("--workspace", type=Path, default=DEFAULT, help="YAML file of connections")
    parser.add_argument("--timeout-seconds", type=float, default=3600, help="longest that a sync may take")
    parser.add_argument("--most-bytes", type=int, default=10 << 30, help="most that a connector may say")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=5, help="how often a running incremental sync lands files"
    )
    parser.add_argument(
        "--connectors", type=Path, action="append", default=[], help="folder with more `source-*` commands"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="airbyte: %(message)s", stream=sys.stdout)
    try:
        workspace = Workspace.read(arguments.workspace)
        folder = arguments.workspace.resolve().parent

        @cache
        def resolve(source: str) -> Path:
            declared = "/" in source and any(source == c.source for c in workspace.connections)
            return folder / source if declared else command(source, folders=tuple(arguments.connectors))

        store = Store(arguments.state, arguments.landing)
        limits = Limits(arguments.timeout_seconds, arguments.most_bytes)
        registry = Registry(workspace, arguments.state)
        syncs = Syncs(
            registry, store, arguments.landing, resolve, arguments.date, limits, arguments.checkpoint_seconds
        )
        serve(syncs, arguments.port, arguments.parent)
    except (AsgardError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
