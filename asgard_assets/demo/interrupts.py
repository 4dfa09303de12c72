"""Ctrl-C during a demo: it ends cleanly and says what is left, however often it is pressed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgard_assets.errors import AsgardError


class Interrupted(AsgardError):
    """The user has ended the demo."""

    def __init__(self, what: str = "") -> None:
        said = f"interrupted: {what}" if what else "interrupted"
        super().__init__(f"{said}. What was published stays; the next demo goes on from there")


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted for Ctrl-C. The first is enough: later ones no longer disturb the cleaning up."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as interrupt:
        _ignore()
        if isinstance(interrupt, Interrupted):
            raise
        raise Interrupted from interrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run to the end, whatever is pressed meanwhile."""
    before = _ignore()
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@contextmanager
def presses() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C was pressed (or the process told to end) since, whoever handles it: a worker or dbt may end of it before Dagster does,
    and the step then fails with another error.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)

    def pressed() -> bool:
        try:
            return bool({signal.SIGINT, signal.SIGTERM} & set(os.read(read, 4096)))
        except BlockingIOError:
            return False

    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield pressed
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _ignore() -> Any:
    main = threading.current_thread() is threading.main_thread()
    return signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
