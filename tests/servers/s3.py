"""A real S3 server: versitygw, from the Go module proxy."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.patience import ended, patience
from tests.servers.builds import answers, cached, free_port, need, run

VERSION = "1.8.0"


@dataclass(frozen=True)
class S3:
    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it as its lake's S3."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "ASGARD_S3_ENDPOINT": self.endpoint,
            "ASGARD_S3_REGION": self.region,
        }


def build() -> Path:
    """The program, compiled where it is not yet cached (about 100 CPU seconds)."""

    def compile_into(folder: Path) -> None:
        go = need("go", "versitygw is built from its Go module")
        env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder), "GOFLAGS": "-trimpath -ldflags=-w"}
        run(go, "install", f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}", cwd=folder, env=env)

    return cached(f"versitygw-{VERSION}", compile_into) / "versitygw"


@contextmanager
def s3(folder: Path, *buckets: str, events: str = "", port: int = 0) -> Iterator[S3]:
    """A server over `folder`, in which each bucket is a directory; it posts each event to `events`."""
    program = build()
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = port or free_port()
    server = S3(f"http://127.0.0.1:{port}", "test-access", "test-secret-key")
    env = {**os.environ, "ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    command = [str(program), "-q", "-p", f"127.0.0.1:{port}", "--health", "/health"]
    command += [*(["--event-webhook-url", events] if events else []), "posix", str(folder)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + patience(30)
        while not answers(f"{server.endpoint}/health"):
            assert process.poll() is None and time.monotonic() < end, "versitygw did not start"
            time.sleep(0.05)
        yield server
    finally:
        ended(process, 10)
