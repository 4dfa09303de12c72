"""Files of binary formats are read in a process of their own: bytes that end it, fill it or never end cost their file, not
the run. The process tells one line for each item, in order, and more lines at the end."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.source.formats import archive_of, format_of
from asgard_assets.ingest.files.source.models import FileSource

BINARY = ("parquet", "orc", "avro", "excel")
"""Formats whose reading is left to libraries in C."""


@dataclass(frozen=True)
class Limits:
    """What the process may take: memory in all, and for each file by its size time of a processor, and time at all,
    which a busy machine may stretch."""

    memory_bytes: int = 4 << 30
    cpu_seconds: float = 10
    seconds: float = 600
    bytes_per_second: float = 100_000


def is_binary(source: FileSource, file: File) -> bool:
    """Whether reading the file is left to libraries in C that its bytes may end."""
    found = format_of(file.path, source.format)
    return bool(archive_of(file.path, source.format)) or (found is not None and found.type in BINARY)


def run_isolated(
    work: Callable[[Iterable[str], Any], Iterator[str]],
    items: Sequence[tuple[str, int]],
    context: Any,
    lost: Callable[[str, str], str],
    limits: Limits | None = None,
) -> Iterator[str]:
    """What `work(items, context)` tells, in another process. Items are texts with the bytes to be read for each.

    Where the process ends, `lost` makes the line of the item that it was at, from its text and the reason, and the
    others are read again without it.
    """
    left, gone = list(items), list[str]()
    while left:
        told, reason = _attempt(work, left, context, limits or Limits())
        if not reason:
            yield from told
            break
        text, _ = left.pop(min(len(told), len(left) - 1))
        gone.append(lost(text, reason))
    yield from gone


class Lost(Exception):
    """The process ended before its time; the message says how."""


def _attempt(
    work: Any, items: Sequence[tuple[str, int]], context: Any, limits: Limits
) -> tuple[list[str], str]:
    """The lines that were told, and why the process ended before its time; '' where it did not."""
    told = list[str]()
    try:
        for line in lines_apart(work, items, context, limits):
            told.append(line)
    except Lost as lost:
        return told, str(lost)
    return told, ""


def lines_apart(
    work: Any, items: Sequence[tuple[str, int]], context: Any, limits: Limits | None = None
) -> Iterator[str]:
    """What `work(items, context)` tells in another process, as it comes; that process ends with this iterator.

    Raises Lost where it ended before its time.
    """
    limits, told = limits or Limits(), 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        whole = False
        try:
            with suppress(BrokenPipeError), child.stdin as order:
                pickle.dump((items, limits, work, context), order)
            # The patience of the moment: it is asked for before each line.
            for line in _lines(child.stdout.fileno(), lambda: _patience(items, told, limits)):  # noqa: B023
                if (text := json.loads(line)) == _DONE:
                    whole = True
                else:
                    yield text
                    told += 1
        except TimeoutError:
            raise Lost(f"was still being read after {_patience(items, told, limits):.0f} s") from None
        except GeneratorExit:
            child.kill()
            raise
        finally:
            _end(child)
    code = child.returncode
    if code == -signal.SIGXCPU:
        raise Lost("took too much time to be read")
    if not whole:
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise Lost(f"ended the process that read it ({how})")


_DONE = ["done"]


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(1)
    except subprocess.TimeoutExpired:
        child.kill()


class ThisProcess:
    """`is_apart`: it reads for another one, so nothing is left to protect."""

    is_apart = False


def _patience(items: Sequence[tuple[str, int]], told: int, limits: Limits) -> float:
    size = items[told][1] if told < len(items) else max(size for _, size in items)
    return limits.seconds + size / limits.bytes_per_second


def _lines(descriptor: int, patience: Callable[[], float]) -> Iterator[bytes]:
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(patience()):
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                return
            *whole, held = (held + chunk).split(b"\n")
            yield from whole


def _serve() -> None:
    """The other process: read the order, tell the lines."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no line of ours
    from asgard_assets.ingest.files.readers import isolated

    isolated.ThisProcess.is_apart = True  # this module runs under another name here
    items, limits, work, context = pickle.load(sys.stdin.buffer)  # noqa: S301  our own parent wrote it
    _limit(limits.memory_bytes)
    for text in work(_timed(items, limits), context):
        out.write(json.dumps(text) + "\n")
        out.flush()
    out.write(json.dumps(_DONE) + "\n")
    out.flush()


def _timed(items: Sequence[tuple[str, int]], limits: Limits) -> Iterator[str]:
    """The items; while one is read, the system ends the process once it took too much time of a processor."""
    for text, size in items:
        with suppress(ImportError, OSError, ValueError):
            import resource

            allowed = int(time.process_time() + limits.cpu_seconds + size / limits.bytes_per_second) + 1
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))
        yield text


def _limit(memory: int) -> None:
    with suppress(ImportError, OSError, ValueError):  # no such limit on this system
        import resource

        room = max(memory, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        tightest = min([room, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
        resource.setrlimit(resource.RLIMIT_AS, (tightest, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _serve()
