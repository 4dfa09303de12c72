"""A small HTTP server of the figures alone, where no gateway runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asgard_assets.errors import ConfigError
from asgard_assets.operations.metrics.watch import Watch
from asgard_assets.telemetry.exposition import CONTENT_TYPE, exposition


@contextmanager
def serving(watch: Watch, host: str, port: int) -> Iterator[str]:
    """Serves while the block runs; yields the address. Raises ConfigError where nothing can listen there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802  its name in http.server
            found = self.path.partition("?")[0] == "/metrics"
            body = exposition(watch.facts()).encode() if found else b"the figures are at /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"asgard metrics: nothing can listen on {host}:{port} ({error.strerror}); choose another --port"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
