"""Files that are written whole or not at all, and a log that cannot fill the disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import orjson


def write(path: Path, value: object) -> None:
    """Replace a file of JSON in one step, and only once its content is on disk. Some hold secrets: it is private."""
    part = path.with_name(f".{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(value))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_private(path: Path, value: object) -> Path:
    """Write JSON that only this user can read: configurations hold secrets."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(value))
    return path


class Log:
    """A job's log. Beyond `limit` bytes it keeps nothing more and says so; the connector is not held up."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file = path.open("ab")
        self._left = limit - self._file.tell()
        self._lock = threading.Lock()
        self._limit = limit

    def write(self, text: bytes) -> None:
        with self._lock:
            if self._left <= 0 or self._file.closed:
                return
            self._file.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._file.write(b"\n... the log is cut here, at %d bytes\n" % self._limit)
            self._file.flush()

    def close(self) -> None:
        with self._lock:
            self._file.close()
