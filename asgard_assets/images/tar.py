"""Files, folders and links of an image layer, a plain tar: owned by root, without times."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path


def put(
    tar: tarfile.TarFile, source: Path, target: str, leave: str | None = None, mode: int | None = None
) -> None:
    def own(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if leave and re.search(leave, info.name):
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mtime = 0
        info.mode = mode or (info.mode | 0o444 | (0o111 if info.isdir() or info.mode & 0o100 else 0))
        return info

    tar.add(source, target, filter=own)


def link(tar: tarfile.TarFile, path: str, to: str) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.SYMTYPE, to
    tar.addfile(info)


def directory(tar: tarfile.TarFile, path: str, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def commands(tar: tarfile.TarFile, commands: Mapping[str, str]) -> None:
    """Programs on the PATH; those that pip installs name the Python that built the image."""
    for name, code in commands.items():
        text(tar, f"usr/local/bin/{name}", f"#!/bin/sh\nexec python3 -c '{code}' \"$@\"\n", 0o755)


def text(tar: tarfile.TarFile, path: str, text: str, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(text.encode()), mode
    tar.addfile(info, io.BytesIO(text.encode()))
