"""The Go mock API (`mock_api/main.go`) as a process: built once into the cache, one a test."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.patience import patience
from tests.required import missing

SOURCE = Path(__file__).parent / "mock_api"


class MockServer:
    """One running server."""

    def __init__(self, url: str, pid: int):
        self.url, self.pid = url, pid

    def log(self) -> dict[str, Any]:
        """What arrived since the start or the last `forget`."""
        return json.loads(self._ask("GET", "/log"))

    def forget(self) -> None:
        self._ask("POST", "/forget")

    def set(self, **settings: Any) -> None:
        """Change settings, such as `latency_ms` or `p503`."""
        self._ask("POST", f"/set?{urlencode(settings)}")

    def _ask(self, method: str, path: str) -> bytes:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, method=method), timeout=patience(30)
        ) as answer:
            return answer.read()


def binary() -> Path:
    """The built server; its sources' hash is its version. Skips the test where there is no Go."""
    sources = [SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    target = Path.home() / ".cache" / "asgard" / "mock_api" / version / "mock_api"
    if not target.is_file():
        if shutil.which("go") is None:
            missing("the mock API is built with Go, which is not installed")
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_suffix(f".{os.getpid()}")
        command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(scratch), "."]
        subprocess.run(command, cwd=SOURCE, check=True, env=os.environ | {"CGO_ENABLED": "0"})
        scratch.replace(target)
    return target


@contextmanager
def mock_server(**settings: Any) -> Iterator[MockServer]:
    """A server of its own on a free port; `settings` are its flags."""
    flags = [f"-{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen([str(binary()), *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "the mock API did not start"
        yield MockServer(url, process.pid)
    finally:
        process.kill()
        process.wait()
