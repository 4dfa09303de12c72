"""axe-core, which finds what keeps people from using a page: its script, from npm, once into the cache."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from tests.servers.builds import cached, need, run

_VERSION = "4.10.3"
_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"


def script() -> str:
    """The script as text."""
    text = (cached(f"axe-core-{_VERSION}", _build) / "axe.min.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == _SHA256, "axe-core is not what was pinned"
    return text.decode()


def _build(folder: Path) -> None:
    run(need("npm", "axe-core comes from npm"), "pack", "--silent", f"axe-core@{_VERSION}", cwd=folder)
    with tarfile.open(folder / f"axe-core-{_VERSION}.tgz") as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        (folder / "axe.min.js").write_bytes(member.read())
