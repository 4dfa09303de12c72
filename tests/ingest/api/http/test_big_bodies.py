"""A body of some hundred megabytes is read with bounded memory."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from asgard_assets.lake import Lake
from tests.patience import patience

ITEMS, TEXT = 75_000, "x" * 4000  # 300 MB
CHILD = """
import json, resource, sys
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.lake import Lake
told = json.loads(sys.argv[1])
def source(name, path):
    form = {"type": "pull", "items": "data.rows", "decode": {"stream": True}, "key": {"id": "bigint"}}
    return ApiSource.model_validate({"name": name, "form": form, "endpoint": {"base_url": told["url"], "path": path},
        "execution": {"run_in": "process"}, "sink": {"table": f"bronze/{name}"}, "quality": {"description": "Big."}})
def run(name, path):
    rows = run_pipeline(None, source(name, path), days=["2026-10-05"], lake=Lake(told["lake"])).rows
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps([run("small", "/2000"), run("big", f"/{told['items']}")]))
"""


@contextmanager
def generating() -> Iterator[str]:
    """`/N`: a JSON object with a list of N items, made while it is sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.chunk('{"meta": {"rows": [0]}, "data": {"rows": [')
            for number in range(int(self.path[1:])):
                self.chunk(f'{"," if number else ""}{{"id": {number}, "text": "{TEXT}"}}')
            self.chunk("]}}")
            self.wfile.write(b"0\r\n\r\n")

        def chunk(self, text: str) -> None:
            self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.servers
def test_memory_does_not_grow_with_the_body(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    with generating() as url:
        told = json.dumps({"url": url, "lake": lake.root, "items": ITEMS})
        done = subprocess.run(
            [sys.executable, "-c", CHILD, told],
            capture_output=True,
            text=True,
            timeout=patience(200),
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    (small, before), (big, after) = json.loads(done.stdout.splitlines()[-1])
    assert (small, big) == (2000, ITEMS)
    assert after - before < 150, f"{before} MB, then {after} MB for a body of 300 MB"
    with lake.connect() as connection:
        found = connection.execute(
            "select count(distinct id), min(length(payload)) from bronze.big"
        ).fetchone()
    assert found is not None and found[0] == ITEMS and found[1] >= len(TEXT)
