"""What commands print with: results on stdout, progress on stderr where that is a terminal, noise in a log file."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from asgard_assets.settings import Settings
from asgard_assets.strangers import visible

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.ingest.api.table.progress import Progress
    from asgard_assets.operations.runs import Launch


class Terminal(Console):
    """Rich's console, for which a string is only text: no escape in it reaches the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(visible(each) if isinstance(each, str) else each for each in objects), **options)


console = Terminal(highlight=False, markup=False, soft_wrap=True)


class _Record(logging.LogRecord):
    """A line of a log, in which names of strangers are only text."""

    def getMessage(self) -> str:
        return visible(super().getMessage())


def show_escapes_in_logs() -> None:
    """From now on, in this process: what logs tell of files and answers reaches a terminal without its escapes."""
    logging.setLogRecordFactory(_Record)


def echo(text: str) -> None:
    """Print text as it is; no escape in it reaches the terminal."""
    typer.echo(visible(text))


def print_json(value: Any) -> None:
    """Data of an operation as JSON; dataclasses become objects."""

    def plain(other: Any) -> Any:
        return asdict(other) if is_dataclass(other) and not isinstance(other, type) else str(other)

    echo(json.dumps(value, indent=1, default=plain))


def share_history(settings: Settings | None = None) -> None:
    """Use the history that UI, daemon and `dagster` share."""
    from asgard_assets.resources.home import prepare_home

    os.environ.setdefault("DAGSTER_HOME", str(prepare_home(settings)))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")


@contextmanager
def looking(what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str, int], None]]:
    """A line that says what is being done and for how long, on a terminal. What it yields is told what is done now, and
    how many files it has done."""
    err = Terminal(stderr=True, highlight=False, markup=False)
    if not err.is_terminal:
        yield lambda *_: None
        return
    began, said, ended = clock(), (what, 0), threading.Event()

    def tell(now: str, files: int) -> None:
        nonlocal said
        said = (now, files)

    with err.status(visible(what)) as status:

        def loop() -> None:
            while not ended.wait(0.5):
                status.update(look_line(*said, clock() - began))

        thread = threading.Thread(target=loop, name="progress", daemon=True)
        thread.start()
        try:
            yield tell
        finally:
            ended.set()
            thread.join()


def look_line(what: str, files: int, seconds: float) -> str:
    """One line of progress of a listing."""
    counted = f" · {files:,} files · {files / max(seconds, 1e-9):,.0f}/s" if files else ""
    return visible(f"{what}{counted} · {clock_time(seconds)}")


@contextmanager
def requests_shown() -> Iterator[Callable[[Progress], None]]:
    """How far a job of an API source is: a live line on a terminal, nothing elsewhere."""
    err = Terminal(stderr=True, highlight=False, markup=False)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("starting") as status:
        yield lambda progress: status.update(visible(progress.line()))


@contextmanager
def run_shown(
    one: Launch, number: int, of: int, instance: dg.DagsterInstance, expected: float | None
) -> Iterator[None]:
    """How far a run is, on a terminal: tables done, partitions a second, what runs now, and when it will be done.

    `expected`: the seconds that past runs of it took. What others print goes to logs/run.log of the home, so that
    stdout holds the command's own words.
    """
    with _others_to_log(Settings().home.absolute() / "logs" / "run.log") as err:
        if not err.is_terminal:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(
            target=_watch, args=(err, one, number, of, instance, expected, ended), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def run_line(
    title: str, seconds: float, done: int, planned: int, running: str, expected: float | None
) -> str:
    """One line of progress of a run."""
    parts = [title]
    if planned:
        parts.append(f"{done:,}/{planned:,} partitions")
    if done and seconds:
        parts.append(f"{done / seconds:.1f}/s")
    if running:
        parts.append(running)
    parts.append(clock_time(seconds))
    left = None
    if done and planned:
        left = seconds / done * (planned - done)
    elif expected is not None:
        left = expected - seconds
    if left is not None and left > 0:
        parts.append(f"done in about {clock_time(left)}")
    return visible(" · ".join(parts))


def clock_time(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _watch(
    err: Console,
    one: Launch,
    number: int,
    of: int,
    instance: dg.DagsterInstance,
    expected: float | None,
    ended: threading.Event,
) -> None:
    import dagster as dg

    from asgard_assets.operations.runs import TAG

    began, run_id, done, planned = time.monotonic(), "", 0, 0
    running: dict[str, None] = {}
    cursor: str | None = None
    title = f"[{number}/{of}] {one.title}"
    with err.status(title) as status:
        while not ended.wait(1.0):
            if not run_id:
                found = instance.get_run_records(dg.RunsFilter(tags={TAG: one.id}), limit=1)
                run_id = found[0].dagster_run.run_id if found else ""
            if run_id:
                page = instance.get_records_for_run(run_id, cursor)
                cursor = page.cursor
                for record in page.records:
                    event = record.event_log_entry.dagster_event
                    if event is None:
                        continue
                    name = event.event_type_value
                    planned += name == "ASSET_MATERIALIZATION_PLANNED"
                    done += name == "ASSET_MATERIALIZATION"
                    if event.is_step_start and event.step_key:
                        running[event.step_key.replace("__", "/")] = None
                    elif (event.is_step_success or event.is_step_failure) and event.step_key:
                        running.pop(event.step_key.replace("__", "/"), None)
            seconds = time.monotonic() - began
            status.update(run_line(title, seconds, done, planned, ", ".join(running), expected))


@contextmanager
def _others_to_log(path: Path) -> Iterator[Console]:
    """A console on stderr, while what everybody else prints, the JVM too, goes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    with os.fdopen(os.dup(2), "w") as terminal, path.open("a", encoding="utf-8") as log_file:
        try:
            for stream in (1, 2):
                os.dup2(log_file.fileno(), stream)
            with redirect_stdout(log_file), redirect_stderr(log_file):
                yield Terminal(file=terminal, highlight=False, markup=False, soft_wrap=True)
        finally:
            for stream, original in zip((1, 2), kept, strict=True):
                os.dup2(original, stream)
                os.close(original)
