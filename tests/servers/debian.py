"""Programs out of Debian's packages: nothing is installed, and no root is needed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from tests.required import missing
from tests.servers.builds import cached, need


def unpacked(name: str, *packages: str) -> Path:
    """The folder with the files of the packages, from the cache; of the first one's newest version."""
    return cached(f"{name}-{_version(packages[0])}", lambda folder: _unpack(folder, packages))


def _version(package: str) -> str:
    """The newest version that apt knows; its lists are brought first where it knows none."""
    need("apt-get", f"{package} comes out of Debian's packages")
    for attempt in range(2):
        shown = subprocess.run(
            ["apt-cache", "policy", package], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"Candidate: (?:\d+:)?(\S+)", shown)
        if found and found[1] != "(none)":
            return found[1]
        if not attempt:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
    missing(f"apt knows no package {package}; run apt-get update")


def _unpack(folder: Path, packages: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = ["apt-get", "download", "-q", *packages]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:  # lists that are older than the packages
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"{packages[0]} cannot be had: {done.stderr[-500:]}")
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    folder.chmod(0o755)
