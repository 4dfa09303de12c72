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

if __name__ == "__main__" and Path(sys.path[0]) == Path(__file__).resolve().parent:
    # spark-submit puts the script's own folder first, where `spark.py` or `lake.py` would shadow packages.
    sys.path.pop(0)

from asgard_assets.errors import ConfigError
from asgard_assets.spark.transport import Wire, open_transport

log = logging.getLogger(__name__)

KEY = "ASGARD_STEP_KEY"
SUCCEEDED, STEP_FAILED, NOT_REBUILT, HOST_LOST = 0, 3, 4, 75
_BEAT_SECONDS = 5.0
_WATCH_SECONDS = 0.5
_BATCH_SECONDS = 0.1
_LAST_WORDS_SECONDS = 10


def main(address: str) -> int:
    """Run the step whose exchange is at `address`; returns the exit code."""
    key = os.environ.pop(KEY, None)
    if key is None:
        raise ConfigError(f"{KEY} is not set: this module is started by the step launcher, not by hand")
    wire = Wire(open_transport(address), key)
    wire.beat("driver")
    order = json.loads(wire.get("step") or b"null")
    if order is None:
        raise ConfigError(f"no step at {address}: the launcher has given up already")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    done = threading.Event()
    guard = threading.Thread(
        target=_guard, args=(Wire(wire.transport, key), order["host_seconds"], done), daemon=True
    )
    guard.start()
    ready = threading.Event()
    with _streamed(wire) as emit:
        # Dagster is imported while the host already hears this driver's heartbeat.
        from asgard_assets.resources.steps import run

        try:
            succeeded = run(order["step"], emit, ready.set)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            if ready.is_set():
                raise
            log.exception("the driver could not rebuild the step")
            return NOT_REBUILT
        finally:
            done.set()
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


def _guard(wire: Wire, host_seconds: float, done: threading.Event) -> None:
    """Beat for this driver; interrupt its main thread when the host cancels or has gone."""
    until_beat = 0.0
    while not done.wait(_WATCH_SECONDS):
        until_beat -= _WATCH_SECONDS
        if until_beat <= 0:
            wire.beat("driver")
            until_beat = _BEAT_SECONDS
        silent = wire.silence("host")
        if wire.get("cancel") is None and silent is not None and silent < host_seconds:
            continue
        log.warning("the host cancelled this step or is gone: leaving")
        # A main thread inside py4j waits in a system call; a signal sent to that very thread wakes it.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not done.wait(_LAST_WORDS_SECONDS):
            os._exit(HOST_LOST)
        return


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    sys.exit(main(sys.argv[1]))
