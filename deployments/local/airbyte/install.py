"""Builds the connectors' own virtual environment, once for each content of `connectors.lock`.

    python -m deployments.local.airbyte.install

Connectors pin libraries that clash with the project's, so they never share its environment. The
environment is built beside its final place, tried, and renamed: whoever finds the folder finds it whole,
and two builders at once do no harm.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

log = logging.getLogger(__name__)

LOCK = Path(__file__).with_name("connectors.lock")
CONNECTORS = ("source-faker", "source-declarative-manifest")
"""Commands that the locked packages install."""


def environment(cache: Path | None = None, lock: Path = LOCK) -> Path:
    """Where the environment for this lock, Python and machine belongs; it need not exist yet."""
    built_for = f"{sys.implementation.cache_tag} {sys.platform} {platform.machine()}"
    digest = hashlib.sha256(lock.read_bytes() + built_for.encode()).hexdigest()[:16]
    return (cache or Settings().cache) / "airbyte" / digest


def install(cache: Path | None = None, lock: Path = LOCK) -> Path:
    """Return the environment's folder, built first if it is not there. Raises ConfigError with uv's words."""
    home = environment(cache, lock)
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    log.info("installing connectors of %s into %s", lock.name, home)
    building = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        uv = _uv()
        # Relocatable: scripts find their interpreter beside themselves, so that the rename below is safe.
        _run([uv, "venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(building)])
        python = str(building / "bin" / "python")
        # An unrelated PYTHONPATH or active environment must not leak into the connectors' one.
        _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python", python]
             + ["-r", str(lock)])  # fmt: skip
        _try(building)
        try:
            building.rename(home)
        except OSError:
            if not home.is_dir():  # else another builder was first, and its result is the same
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("connectors installed in %.1f s", time.monotonic() - started)
    return home


def command(name: str, cache: Path | None = None, folders: tuple[Path, ...] = ()) -> Path:
    """Path of a connector's command: of connectors.lock, in one of `folders`, or on the PATH, in this order."""
    if not re.fullmatch(r"source-[a-z0-9][a-z0-9_-]*", name):
        raise ConfigError(f"{name!r} is no connector's name; they are like source-faker")
    if name in CONNECTORS:
        return install(cache) / "bin" / name
    found = next((f / name for f in folders if (f / name).is_file()), None) or shutil.which(name)
    if found is None:
        raise ConfigError(
            f"connector {name} is not installed: {LOCK.name} has {', '.join(CONNECTORS)}; install its package in an "
            "environment of its own and give the server that environment's bin folder with --connectors"
        )
    return Path(found).resolve()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ConfigError("uv is needed to install Airbyte connectors: install the project's `dev` extra")
    return found


def _run(arguments: list[str]) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(arguments, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise ConfigError(
            f"`{' '.join(arguments)}` failed ({done.returncode}): {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def _try(home: Path) -> None:
    """A connector that answers `spec` is whole: interpreter, scripts and packages are found."""
    out = _run([str(home / "bin" / CONNECTORS[0]), "spec"])
    if not any(json.loads(line).get("type") == "SPEC" for line in out.splitlines()):
        raise ConfigError(f"{CONNECTORS[0]} in {home} does not answer `spec`: {out[:500]}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the connectors' own virtual environment.")
    parser.add_argument("--cache", type=Path, help="root of the cache; default: setting ASGARD_CACHE")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    log.info("connectors: %s", install(arguments.cache))


if __name__ == "__main__":
    main()
