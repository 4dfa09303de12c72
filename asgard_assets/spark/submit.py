"""Starting a Spark driver somewhere else, watching it and ending it.

A `Submitter` knows one place where drivers run. Here: a `spark-submit` subprocess of this machine.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from asgard_assets import project
from asgard_assets.errors import ConfigError

_OUT_OF_MEMORY = "OutOfMemoryError"
_KILL_SECONDS = 10


@dataclass(frozen=True)
class Driver:
    """What to run: a Python module and its arguments. `env` is added to the driver's environment.

    `file` names a program that is no module of this project, as a place that runs it knows it.
    """

    name: str
    module: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True)
class State:
    """Where a driver stands. `exit_code` is None until it has ended; `reason` says what a code cannot.

    `lost`: it will not end well, whatever its code says (deleted, evicted, never started); nothing that it said
    about the end of its step is believed. `fix` is what to change, `retry` whether the same again can succeed.
    `stale`: the place is out of reach, and this is what was last known.
    """

    exit_code: int | None = None
    reason: str = ""
    fix: str = ""
    lost: bool = False
    retry: bool = True
    out_of_memory: bool = False
    running: bool = False
    stale: bool = False
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.lost or self.exit_code is not None


@dataclass(frozen=True)
class Handle:
    """A submitted driver: its name (one an attempt), where it runs, where its output goes."""

    name: str
    where: str
    log: str


class Submitter(Protocol):
    """One place where drivers run. `bounds_start`: it gives up by itself on a driver that does not start."""

    bounds_start: bool

    def submit(self, driver: Driver) -> Handle:
        """Start the driver; returns without waiting for it. Raises ConfigError where it cannot be started."""
        ...

    def state(self, handle: Handle) -> State:
        """Where the driver stands now."""
        ...

    def hurry(self, handle: Handle) -> None:
        """The driver is about to end: look often from now on."""
        ...

    def logs(self, handle: Handle, cursor: int = 0) -> tuple[str, int]:
        """Output written since `cursor`, and the cursor to go on from."""
        ...

    def events(self, handle: Handle) -> list[str]:
        """What the place itself says of the driver, oldest first."""
        ...

    def marks(self, handle: Handle) -> Mapping[str, float]:
        """Seconds from submission to what was first seen of the driver."""
        ...

    def metrics(self, handle: Handle) -> Mapping[str, int]:
        """What the place itself counted of the driver."""
        ...

    def cancel(self, handle: Handle, grace_seconds: float = 10) -> None:
        """End the driver and everything it started. Safe to call again and after it has ended."""
        ...

    def forget(self, handle: Handle) -> None:
        """Drop what is kept of a driver that ended well."""
        ...


class LocalProcess:
    """Drivers as subprocesses, each the leader of a session of its own, their output in one file each."""

    bounds_start = False

    def __init__(self, log_folder: Path) -> None:
        self.log_folder = log_folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, driver: Driver) -> list[str]:
        """The command line. This class runs a plain Python without a JVM."""
        return [sys.executable, "-m", driver.module, *driver.args]

    def environment(self, driver: Driver) -> dict[str, str]:
        path = [*project.import_path(), *filter(None, [os.environ.get("PYTHONPATH")])]
        found = project.find()
        place = {project.VARIABLE: str(found.folder)} if found else {}
        environment = {**os.environ, **place, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        return {**environment, **driver.env}

    def log(self, driver: Driver) -> Path:
        return self.log_folder / f"{driver.name}.log"

    def submit(self, driver: Driver) -> Handle:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log = self.log(driver)
        command, environment = self.command(driver), self.environment(driver)
        log.unlink(missing_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[driver.name] = process
        return Handle(driver.name, f"process {process.pid}", str(log))

    def state(self, handle: Handle) -> State:
        code = self._running[handle.name].poll()
        return State(code, "" if code is None else _signal_name(code), running=code is None)

    def hurry(self, handle: Handle) -> None:
        """A process is looked at each time."""

    def logs(self, handle: Handle, cursor: int = 0) -> tuple[str, int]:
        with open(handle.log, "rb") as file:
            file.seek(cursor)
            new = file.read()
        # A character of which only the first bytes are there is read next time.
        text, used = codecs.utf_8_decode(new, "replace", False)
        return text, cursor + used

    def events(self, handle: Handle) -> list[str]:
        return []

    def marks(self, handle: Handle) -> Mapping[str, float]:
        return {}

    def metrics(self, handle: Handle) -> Mapping[str, int]:
        return {}

    def cancel(self, handle: Handle, grace_seconds: float = 10) -> None:
        process = self._running[handle.name]
        _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        # Spark's Python workers leave the process group but not the session; all of it must be gone.
        while (process.poll() is None or session_members(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(process, signal.SIGKILL)
        process.wait()
        # A killed process is still there until the kernel has taken it down; one in a disk wait may take longer.
        deadline = time.monotonic() + _KILL_SECONDS
        while session_members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)

    def forget(self, handle: Handle) -> None:
        Path(handle.log).unlink(missing_ok=True)
        self._running.pop(handle.name, None)


# spark-submit copies what its Python program prints, but stops at once when the program fails: the last lines,
# which say why, may be lost (PythonRunner.scala). So the program writes into the log itself.
_DRIVER_PYTHON = """#!/bin/sh
exec "$ASGARD_DRIVER_PYTHON" "$@" >> "$ASGARD_DRIVER_LOG" 2>&1
"""


class LocalSparkSubmit(LocalProcess):
    """Drivers started by the `spark-submit` that pyspark brings, in client mode on this machine."""

    def __init__(self, log_folder: Path, conf: Mapping[str, str]) -> None:
        super().__init__(log_folder)
        self.conf = dict(conf)

    def _python(self, name: str) -> Path:
        return (self.log_folder / f"{name}.python").absolute()

    def submit(self, driver: Driver) -> Handle:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        self._python(driver.name).write_text(_DRIVER_PYTHON)
        self._python(driver.name).chmod(0o700)
        return super().submit(driver)

    def forget(self, handle: Handle) -> None:
        self._python(handle.name).unlink(missing_ok=True)
        super().forget(handle)

    def command(self, driver: Driver) -> list[str]:
        master = self.conf.get("spark.master", "local[*]")
        conf = {**self.conf, "spark.app.name": driver.name}
        options = [
            part for key in sorted(conf) if key != "spark.master" for part in ("--conf", f"{key}={conf[key]}")
        ]
        script = driver.file or _file_of(driver.module)
        if "#" in script:  # spark-submit takes what stands behind it for something else
            script = Path(script).absolute().as_uri()
        return [
            str(spark_home() / "bin" / "spark-submit"),
            "--master",
            master,
            *options,
            script,
            *driver.args,
        ]

    def environment(self, driver: Driver) -> dict[str, str]:
        return {
            **super().environment(driver),
            "SPARK_HOME": str(spark_home()),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": str(self._python(driver.name)),
            "ASGARD_DRIVER_PYTHON": sys.executable,
            "ASGARD_DRIVER_LOG": str(self.log(driver).absolute()),
        }


def _file_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the module {module} is not installed where this driver is started")
    return spec.origin


def explain(state: State, log: str) -> tuple[str, str]:
    """Why a driver ended that did not say so itself, and what to change. Reads exit code and log."""
    code = state.exit_code
    if state.reason and state.fix:
        return state.reason, state.fix
    if _OUT_OF_MEMORY in log or code == 52:
        return "the JVM ran out of memory", "give the driver more heap, for example ASGARD_SPARK_MEMORY=2g"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return (
            "it was killed (SIGKILL), most often because the machine ran out of memory",
            "free memory, or lower ASGARD_SPARK_CORES or ASGARD_SPARK_MEMORY so that it fits",
        )
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "it was terminated from outside (SIGTERM)", "find out who ended it, then run the step again"
    if code == 0:
        return "it ended without finishing the step", "look for sys.exit or os._exit in the asset's code"
    return state.reason or "it ended by itself", "the last log lines say more"


def advice(log: str) -> str | None:
    """What to change where the step itself failed, and the log says why."""
    if _OUT_OF_MEMORY in log:
        return "The JVM ran out of memory: raise ASGARD_SPARK_MEMORY, or driver.memory on Kubernetes."
    if "ExecutorLostFailure" in log or "Lost executor" in log:
        lost = "An executor was lost"
        if "OOMKilled" in log or "exit code 137" in log or "code: 137" in log:
            lost += " because its pod ran out of memory: raise executor.memoryOverhead (Python's memory)"
        return lost + "; Spark tried its tasks again until they had failed four times."
    return None


def spark_home() -> Path:
    """Where pyspark lies; found without importing it, because the host of a step must stay small."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("pyspark is not installed; run `make setup`")
    return Path(spec.submodule_search_locations[0])


def _signal_name(code: int) -> str:
    if code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return f"ended by signal {signal.Signals(-code).name}"
    return f"ended by signal {-code}"


def session_members(session: int) -> list[int]:
    """Living processes of a session (Linux; elsewhere only the group's leader is known)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command, in brackets, may hold spaces: fields are counted after it (proc_pid_stat(5)).
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.parent.name))
    return found


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a driver's leader, its group and the rest of its session.

    Never by a bare number once the leader was reaped: the number may belong to somebody else by then.
    """
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, number)
    for pid in session_members(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
