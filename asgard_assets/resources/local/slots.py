"""Slots in pools, of local runs: kept while the run's process lives, and freed by whoever waits for them.

Dagster's daemon frees the slots of a run that was killed; a machine may have no daemon, and the next run would wait for
ever. So each run holds a lock on a file of its own, which ends with its process, and looks for runs that lost theirs.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg

log = logging.getLogger(__name__)

SECONDS = 10.0
_SCHEMA: Any = dg.in_process_executor.config_schema


@contextmanager
def alive(instance: dg.DagsterInstance, run_id: str, seconds: float = SECONDS) -> Iterator[None]:
    """Show other runs of the instance that this one lives, and free the slots of those that do not."""
    folder = Path(instance.storage_directory()).parent / "running"
    folder.mkdir(parents=True, exist_ok=True)
    mark, done = folder / run_id, threading.Event()

    def watch() -> None:
        while not done.wait(seconds):
            with suppress(Exception):  # a busy history is asked again
                free_slots_of_the_dead(instance, folder)

    with mark.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        free_slots_of_the_dead(instance, folder)
        watcher = threading.Thread(target=watch, name="slots of killed runs", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            mark.unlink(missing_ok=True)


def free_slots_of_the_dead(instance: dg.DagsterInstance, folder: Path) -> list[str]:
    """Free the slots of runs whose process is gone; returns their ids."""
    freed = []
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        mark = folder / run_id
        try:
            file = mark.open("r+")
        except FileNotFoundError:
            continue  # not run by this executor, or ended since
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            mark.unlink(missing_ok=True)
        log.warning("freed the pools of run %s, whose process is gone", run_id)
        freed.append(run_id)
    return freed


class LocalExecutor(dg.Executor):
    """Dagster's in-process executor, in a run that shows that it lives."""

    def __init__(self, inner: dg.Executor) -> None:
        self.inner = inner

    @property
    def retries(self) -> Any:
        return self.inner.retries

    @property
    def step_dependency_enabled(self) -> bool:
        return getattr(self.inner, "step_dependency_enabled", True)

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        with alive(plan_context.instance, plan_context.run_id):
            yield from self.inner.execute(plan_context, execution_plan)


@dg.executor(name="in_process", config_schema=_SCHEMA)
def local_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Steps one after the other in this process, which share one Spark session."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return LocalExecutor(create(context))
