"""The driver's side of a launched step: `python -m asgard_assets.resources.step_main <address>`.

Opens the exchange, runs the step, streams its events, and leaves with an exit code that the host
understands. It gives up when the host cancels or falls silent, so that nobody writes without a run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__" and Path(sys.path[0]) == Path(__file__).resolve().parent:
    # spark-submit puts the script's own folder first, where `spark.py` or `lake.py` would shadow packages.
    sys.path.pop(0)

from asgard_assets.errors import ConfigError, SparkJobError, Transient
from asgard_assets.spark.transport import Transport, Wire, open_transport

log = logging.getLogger(__name__)

KEY = "ASGARD_STEP_KEY"
SUCCEEDED, STEP_FAILED, NOT_REBUILT, OTHER_CODE, HOST_LOST = 0, 3, 4, 5, 75
_BEAT_SECONDS = 5.0
_WATCH_SECONDS = 0.5
_BATCH_SECONDS = 0.1
_LAST_WORDS_SECONDS = 10
_REMOTE_WATCH_SECONDS = 2.0
_OUTAGE_SECONDS = 60.0


def main(address: str) -> int:
    """Run the step whose exchange is at `address`; returns the exit code."""
    key = os.environ.pop(KEY, None)
    if key is None:
        raise ConfigError(f"{KEY} is not set: this module is started by the step launcher, not by hand")
    wire = Wire(Patient(open_transport(address)), key)
    wire.beat("driver")
    order = json.loads(wire.get("step") or b"null")
    if order is None:
        raise ConfigError(f"no step at {address}: the launcher has given up already")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    done = threading.Event()
    guard = threading.Thread(
        target=_guard, args=(Wire(open_transport(address), key), order["host_seconds"], done), daemon=True
    )
    guard.start()
    ready = threading.Event()
    try:
        with _streamed(wire) as emit:
            # Dagster is imported while the host already hears this driver's heartbeat.
            from asgard_assets.resources.steps import OtherCodeError, run

            try:
                succeeded = run(order["step"], emit, ready.set)
            except (KeyboardInterrupt, SystemExit):
                raise
            except OtherCodeError:
                log.exception("this driver's code is not the host's")
                return OTHER_CODE
            except BaseException:
                if ready.is_set():
                    raise
                log.exception("the driver could not rebuild the step")
                return NOT_REBUILT
            finally:
                done.set()
    finally:
        done.set()
        guard.join()  # it may have to remove the exchange of a host that is gone
    return SUCCEEDED if succeeded else STEP_FAILED


@contextlib.contextmanager
def _streamed(wire: Wire) -> Iterator[Callable[[str], None]]:
    """Yields a function that queues a message; a thread sends what has gathered every 0.1 s, in order."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def send() -> None:
        closing = False
        while not closing:
            batch = [waiting.get()]
            if batch[0] is not None:
                time.sleep(_BATCH_SECONDS)
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(waiting.get_nowait())
            closing = None in batch
            if messages := [message for message in batch if message is not None]:
                wire.send(messages)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        sender.join()


class Patient:
    """A transport that waits where the exchange is out of reach, for as long as an outage may last."""

    def __init__(self, transport: Transport, seconds: float = _OUTAGE_SECONDS) -> None:
        self.transport, self.seconds = transport, seconds

    @property
    def address(self) -> str:
        return self.transport.address

    def put(self, name: str, body: bytes) -> None:
        self._wait(lambda: self.transport.put(name, body))

    def get(self, name: str) -> bytes | None:
        return self._wait(lambda: self.transport.get(name))

    def remove(self) -> None:
        self._wait(self.transport.remove)

    def _wait(self, call: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + self.seconds
        while True:
            try:
                return call()
            except SparkJobError as error:
                if not isinstance(error, Transient) or time.monotonic() > deadline:
                    raise
                log.warning("%s; trying again", error.message)
                time.sleep(1)


def _guard(wire: Wire, host_seconds: float, done: threading.Event) -> None:
    """Beat for this driver; interrupt its main thread when the host cancels or has gone."""
    until_beat, heard = 0.0, time.monotonic()
    remote = not wire.transport.address.startswith("file:")
    pause = _REMOTE_WATCH_SECONDS if remote else _WATCH_SECONDS
    while not done.wait(pause):
        until_beat -= pause
        try:
            if until_beat <= 0:
                wire.beat("driver")
                until_beat = _BEAT_SECONDS
            silent = wire.silence("host")
            cancelled = wire.get("cancel") is not None
        except SparkJobError as error:
            if not isinstance(error, Transient):
                log.exception("the exchange is closed to this driver, or somebody else writes there: leaving")
                silent, cancelled = None, True
            else:
                # An exchange out of reach says nothing about the host; but nobody hears us either.
                silent, cancelled = time.monotonic() - heard, False
        else:
            heard = time.monotonic() - (silent or 0.0)
        if not cancelled and silent is not None and silent < host_seconds:
            continue
        log.warning("the host cancelled this step or is gone: leaving")
        # A main thread inside py4j waits in a system call; a signal sent to that very thread wakes it.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        left = done.wait(_LAST_WORDS_SECONDS)
        if cancelled and left:
            return
        if not cancelled:
            time.sleep(1)  # the last words are on their way
            with contextlib.suppress(SparkJobError):
                wire.transport.remove()  # the host that would do so is gone
        os._exit(HOST_LOST)


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    sys.exit(main(sys.argv[1]))
