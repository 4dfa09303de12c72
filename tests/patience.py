"""How long a test waits: limits that grow with the time that this machine needs for a known piece of work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

# The loop of a fast machine, and how much of the machine other work may take.
FAST_SECONDS = 0.5
ROOM = 3.0
LOOP = compile("total = 0\nfor number in range(10_000_000): total += number", "loop", "exec")


def loop_seconds() -> float:
    """The time of a Python loop of ten million additions: 0.5 s on a fast machine. Measured once per session."""
    if "ASGARD_LOOP_SECONDS" not in os.environ:
        began = time.perf_counter()
        exec(LOOP, {})  # as a script has it, with global names
        os.environ["ASGARD_LOOP_SECONDS"] = f"{time.perf_counter() - began:.2f}"  # for workers and processes
    return float(os.environ["ASGARD_LOOP_SECONDS"])


def patience(seconds: float) -> float:
    """The limit for something that takes at most `seconds` on a fast, idle machine."""
    return seconds * ROOM * max(1.0, loop_seconds() / FAST_SECONDS)


def wait_until(condition: Callable[[], object], seconds: float, what: str, pause: float = 0.1) -> None:
    """Poll until `condition` holds; the test fails and names `what` after `patience(seconds)`."""
    limit = patience(seconds)
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s in vain until {what}"
        time.sleep(pause)


def ended(
    process: subprocess.Popen[Any], seconds: float = 20, sent: int = signal.SIGTERM, group: bool = False
) -> int:
    """Ask a process (or its whole group) to end, and kill it after a bounded wait; gives back its exit code."""

    def send(what: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, what) if group else process.send_signal(what)

    send(sent)
    try:
        return process.wait(patience(seconds))
    except subprocess.TimeoutExpired:
        send(signal.SIGKILL)
        return process.wait()
