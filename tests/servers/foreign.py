"""API servers that nobody here wrote, each in an environment of its own under the cache, by its lock file.

A lock is made anew by `uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url
--no-annotate`, of what its first comment names; that of node/ by `npm install --package-lock-only
--omit-lockfile-registry-resolved`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asgard_assets.settings import Settings
from tests.patience import ended, patience
from tests.required import missing

_LOCKS = Path(__file__).parent


def _folder(name: str) -> Path:
    return Settings().cache / "servers" / name


def python_server(name: str, locks: Path = _LOCKS) -> Path:
    """The `bin` of an environment with what `<name>.lock` pins, made once."""
    lock = locks / f"{name}.lock"
    folder = _folder(f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}")
    if not (folder / ".done").exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if uv is None:
            missing("uv is not installed")
        for command in (
            [uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "sync", "-q", "--require-hashes", "--python", str(folder / "bin/python"), str(lock)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                missing(f"{name} cannot be installed: {done.stderr.strip()[-300:]}")
        (folder / ".done").touch()
    return folder / "bin"


def node_modules() -> Path:
    """The `node_modules` that the lock of node/ pins, made once."""
    locked = _LOCKS / "node/package-lock.json"
    folder = _folder(f"node-{hashlib.sha256(locked.read_bytes()).hexdigest()[:12]}")
    if not (folder / ".done").exists():
        if not (shutil.which("npm") and shutil.which("node")):
            missing("node and npm are not installed")
        folder.mkdir(parents=True, exist_ok=True)
        for file in (locked, locked.with_name("package.json")):
            shutil.copy(file, folder)
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"what {locked} pins cannot be installed: {(done.stdout + done.stderr).strip()[-300:]}")
        (folder / ".done").touch()
    return folder / "node_modules"


@contextmanager
def running(command: list[str], port: int, path: str, cwd: Path, **variables: str) -> Iterator[str]:
    """The address of a server that answers at `path`; it is ended again."""
    url = f"http://127.0.0.1:{port}"
    log = cwd / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **variables}
        )
    try:
        deadline = time.monotonic() + patience(90)
        while True:
            try:
                with urllib.request.urlopen(f"{url}{path}", timeout=patience(5)):
                    break
            except urllib.error.HTTPError:
                break  # it answers
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
        yield url
    finally:
        ended(server)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def datasette(folder: Path, orders: int) -> Iterator[tuple[str, Path]]:
    """Datasette over a shop's orders; also the database, which a test may change while it is served."""
    bin_ = python_server("datasette")
    database = folder / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute(
            "create table orders (id integer primary key, customer, amount real, updated_at, note)"
        )
        connection.executemany(
            "insert into orders values (?, ?, ?, ?, ?)",
            [(n, f"c{n % 7}", n / 4, f"2026-10-05T{n // 60:02}:{n % 60:02}:00", None) for n in range(orders)],
        )
    port = free_port()
    command = [str(bin_ / "datasette"), "serve", str(database), "-h", "127.0.0.1", "-p", str(port)]
    with running(command, port, "/-/versions.json", folder) as url:
        yield url, database


@contextmanager
def json_server(folder: Path, products: list[dict]) -> Iterator[str]:
    bin_ = node_modules() / ".bin"
    (folder / "db.json").write_text(json.dumps({"products": products}))
    port = free_port()
    command = [str(bin_ / "json-server"), "db.json", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, port, "/products?_page=1&_per_page=1", folder) as url:
        yield url


@contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    bin_ = python_server("httpbin")
    port = free_port()
    command = [str(bin_ / "gunicorn"), "-b", f"127.0.0.1:{port}", "--threads", "8", "httpbin:app"]
    with running(command, port, "/get", folder) as url:
        yield url
