"""Ends a command and everything that it started, however the one who asked for it is stopped.

`asgard dev` starts Dagster through this module, in a process of its own. That process ends the whole family when it is told
to, when the command ends, and when its own parent is gone. On Linux what loses its parent meanwhile stays in the family.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

MARK = "ASGARD_DEV"
"""Variable by which the children of `asgard dev` are known: its home."""

_KEEP_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_SECONDS = (8.0, 2.0, 4.0)
"""Time for the command to end by itself; for its children, once told to; for the machine, once they are killed."""


def start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the command with its keeper; the keeper's exit code is the command's. Terminate it to end all."""
    keeper = [sys.executable, "-m", __name__, str(os.getpid()), *command]
    before = signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # also where this shell ignores it for what it starts
    try:
        return subprocess.Popen(keeper, cwd=cwd, env=env, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)


def left_over(home: str) -> list[psutil.Process]:
    """Processes of an earlier `asgard dev` of this home that are still there, without those of this one."""
    mine = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in mine and process.environ().get(MARK) == home:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end(processes: Sequence[psutil.Process]) -> None:
    """Ask them to end; kill what does not."""
    for word, seconds in ((psutil.Process.terminate, _SECONDS[1]), (psutil.Process.kill, _SECONDS[2])):
        left = [process for process in processes if process.is_running()]
        for process in left:
            try:
                word(process)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, seconds)


def keep(parent: int, command: Sequence[str], poll_seconds: float = 0.5) -> int:
    """Run the command until it ends, this process is told to end, or `parent` is gone; then end its family."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_KEEP_ORPHANS, 1, 0, 0, 0)
    told: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        told.append(number)

    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hear)
    while child.poll() is None and not told and os.getppid() == parent:
        time.sleep(poll_seconds)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_SECONDS[0])
        except subprocess.TimeoutExpired:
            pass
    while family := psutil.Process().children(recursive=True):
        end(family)  # and what they started meanwhile
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]))
