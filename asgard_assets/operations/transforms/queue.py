"""Starts the worker of each submission, the oldest first, a few at a time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import DBAPIError

from asgard_assets import project
from asgard_assets.operations.transforms.submissions import NOT_MINE, Outcome, Submission, Submissions

log = logging.getLogger(__name__)
Start = Callable[[Submission], Any]
"""Starts a worker and returns its process: what has `poll`."""


class Queue:
    """Its thread looks for submissions without an end. Workers outlive it: the next queue finds them at work."""

    def __init__(
        self, submissions: Submissions, start: Start | None = None, at_once: int = 1, seconds: float = 0.5
    ) -> None:
        self._submissions, self._start = submissions, start or self._worker
        self._at_once, self._seconds = at_once, seconds
        self._running: dict[str, Any] = {}
        self._ended: set[str] = set()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="transforms", daemon=True)

    def __enter__(self) -> Queue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(10)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def waiting(self) -> list[Submission]:
        """Submissions whose worker has not ended, the oldest first."""
        return [one for one in reversed(self._submissions.all()) if not self._has_ended(one.run_id)]

    def tick(self) -> None:
        """Note workers that ended, and start others."""
        for run_id, process in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[run_id]
            if process.returncode != NOT_MINE and self._submissions.outcome(run_id) is None:
                self._again_or_never(run_id, process.returncode)
        for one in self.waiting()[: self._at_once]:
            if (
                len(self._running) < self._at_once
                and one.run_id not in self._running
                and self._free(one.run_id)
            ):
                log.info("run %s of %s starts", one.run_id, one.table)
                self._running[one.run_id] = self._start(one)

    def _has_ended(self, run_id: str) -> bool:
        if run_id not in self._ended and self._submissions.outcome(run_id) is not None:
            self._ended.add(run_id)
        return run_id in self._ended

    def _free(self, run_id: str) -> bool:
        with self._submissions.claimed(run_id) as mine:
            return mine

    def _again_or_never(self, run_id: str, code: int | None) -> None:
        """A worker that was killed is told so by the next one; one that cannot even start is not tried again."""
        log.warning("the worker of run %s ended with %s and left no outcome", run_id, code)
        if code is not None and code >= 0:
            import time

            reason = f"its process ended with exit code {code}; its log has the reason"
            self._submissions.finish(run_id, Outcome(False, time.time(), reasons=(reason,)))

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                self.tick()
            except (OSError, DBAPIError) as error:
                log.error("submissions cannot be read: %s", str(error).splitlines()[0])
            self._wake.wait(self._seconds)
            self._wake.clear()

    def _worker(self, one: Submission) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "asgard_assets.operations.transforms.worker", one.run_id]
        with self._submissions.log(one.run_id).open("ab") as output:
            return subprocess.Popen(
                command, cwd=project.folder(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=dict(os.environ), start_new_session=True,
            )  # fmt: skip
