"""The dbt manifest from which Gold's assets are made: parsed at build time, checked by content at load.

`python -m asgard_assets.components.dbt_manifest dbt_project` prepares it (`make setup`, an image build). At
load the project's files are hashed, which takes milliseconds; dbt runs only where they changed since, so that
a new `.sql` shows at the next reload. Imports neither Dagster nor dbt.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asgard_assets.errors import ConfigError

log = logging.getLogger(__name__)

_KEY = "asgard_manifest.key"
_MADE_BY_DBT = {"target", "logs", "dbt_packages", "__pycache__", ".user.yml"}


def manifest(project: Path) -> Mapping[str, Any]:
    """The manifest of the dbt project as it is now. Raises ConfigError where dbt cannot parse it."""
    prepare(project)
    return json.loads((project / "target" / "manifest.json").read_bytes())


def prepare(project: Path) -> bool:
    """Parse the project where its files changed since the last time; True if dbt had to run."""
    key, target = fingerprint(project), project / "target"
    stamp = target / _KEY
    if stamp.is_file() and stamp.read_text() == key and (target / "manifest.json").is_file():
        return False
    log.warning("%s: no current manifest; running `dbt parse` (prepare it at build time)", project)
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".parse-", dir=target) as scratch:
        _parse(project, Path(scratch))
        # Several processes may load at once: each replaces whole files, and all hold the same content.
        for name in ("manifest.json", "partial_parse.msgpack"):
            shutil.move(Path(scratch) / name, target / name)
        (Path(scratch) / _KEY).write_text(key)
        shutil.move(Path(scratch) / _KEY, stamp)
    return True


def fingerprint(project: Path) -> str:
    """Hash of every file that dbt reads, and of dbt's own version."""
    if not (project / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{project} holds no dbt_project.yml; name the dbt project's folder", file=str(project)
        )
    digest = hashlib.sha256(importlib.metadata.version("dbt-core").encode())
    for folder, folders, files in os.walk(project):
        folders[:] = sorted(f for f in folders if f not in _MADE_BY_DBT)
        for name in sorted(f for f in files if f not in _MADE_BY_DBT):
            path = Path(folder) / name
            digest.update(f"{path.relative_to(project)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def executable() -> str:
    """dbt of this environment, found although it is not activated."""
    beside = Path(sys.executable).with_name("dbt")
    return str(beside) if beside.is_file() else "dbt"


def _parse(project: Path, target: Path) -> None:
    folder = str(project.absolute())
    command = [executable(), "parse", "--no-partial-parse", "--no-version-check", "--no-use-colors"]
    command += ["--project-dir", folder, "--profiles-dir", folder]
    command += ["--target-path", str(target.absolute()), "--log-path", str(target.absolute())]
    env = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    done = subprocess.run(command, env=env, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"dbt cannot parse {project}:\n{(done.stdout + done.stderr).strip()[-3000:]}", file=str(project)
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for argument in sys.argv[1:] or ["dbt_project"]:
        prepare(Path(argument))
