"""Server programs from package registries, built once into the cache, keyed by version."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from asgard_assets.settings import Settings
from tests.patience import patience
from tests.required import missing


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` in the cache; `build` fills it where it is not there."""
    folder = Settings().cache / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
            made = Path(scratch) / name
            made.mkdir()
            build(made)
            try:
                os.replace(made, folder)
            except OSError:
                if not folder.is_dir():  # else another worker was faster
                    raise
    return folder


def need(program: str, why: str) -> str:
    """The program's path; a skip with its reason where it is missing, a failure where servers are required."""
    found = shutil.which(program)
    if found:
        return found
    missing(f"{program} is not installed: {why}")


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-500:]}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=patience(2)) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
