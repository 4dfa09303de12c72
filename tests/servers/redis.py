"""A real Redis, Debian's, out of its packages."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import ended, wait_until
from tests.required import missing
from tests.servers.builds import free_port
from tests.servers.debian import unpacked

PACKAGES = (
    "redis-tools",
    "redis-server",
    "libatomic1",
    "libhiredis0.14",
    "libjemalloc2",
    "liblua5.1-0",
    "liblzf1",
    "lua-bitop",
    "lua-cjson",
)


@contextmanager
def redis() -> Iterator[str]:
    """The address of an empty server."""
    import redis as client

    root, port = unpacked("redis", *PACKAGES), free_port()
    libraries = f"{root}/usr/lib/{os.uname().machine}-linux-gnu"
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(root / "usr/bin/redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            env={**os.environ, "LD_LIBRARY_PATH": libraries}, stdout=log, stderr=log,
        )  # fmt: skip

        def answers() -> bool:
            try:
                return bool(client.Redis(port=port).ping())
            except client.ConnectionError:
                return False

        try:
            wait_until(lambda: process.poll() is not None or answers(), 30, "Redis answers")
            if process.poll() is not None:
                missing(f"Redis ended: {(Path(folder) / 'log').read_text()[-800:]}")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            ended(process)
