"""Drivers as processes: their end is seen, their output kept, and nothing of them survives a cancel."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asgard_assets.settings import Settings
from asgard_assets.spark.submit import (
    Driver,
    Handle,
    LocalProcess,
    LocalSparkSubmit,
    State,
    explain,
    session_members,
)
from tests.patience import patience
from tests.spark import submitter_contract as contract


class Script(LocalProcess):
    """Runs a piece of Python given as the driver's only argument."""

    def command(self, driver: Driver) -> list[str]:
        return [sys.executable, "-c", driver.args[0]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "logs")


def run(script: Script, code: str, name: str = "asgard-test-0") -> Handle:
    return script.submit(Driver(name, "unused", [code], {"COLOUR": "blue"}))


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patience(15)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("promise", contract.ALL, ids=lambda p: p.__name__)
def test_a_process_keeps_the_contract(script: Script, promise: Callable[..., None]) -> None:
    promise(script, lambda code: Driver("asgard-test-0", "unused", [code], {"COLOUR": "blue"}))


@pytest.mark.servers
@pytest.mark.parametrize("promise", contract.ALL, ids=lambda p: p.__name__)
def test_a_local_spark_submit_keeps_the_contract(tmp_path: Path, promise: Callable[..., None]) -> None:
    """A real JVM that starts a Python program."""
    submitter = LocalSparkSubmit(
        tmp_path / "logs", {"spark.master": "local[1]", "spark.driver.memory": "512m"}
    )

    def driver(code: str) -> Driver:
        file = tmp_path / "program.py"
        file.write_text(code)
        return Driver("asgard-test-0", "unused", env={"COLOUR": "blue"}, file=str(file))

    promise(submitter, driver)


def test_exit_code_environment_and_output_of_a_driver_are_seen(script: Script) -> None:
    handle = run(script, "import os, sys; print(os.environ['COLOUR']); sys.exit(3)")
    wait(lambda: script.state(handle).ended)
    assert script.state(handle) == State(3)
    first, cursor = script.logs(handle)
    assert first == "blue\n"
    assert script.logs(handle, cursor) == ("", cursor)
    script.forget(handle)
    assert not Path(handle.log).exists()


def test_a_character_that_is_half_written_is_read_when_it_is_whole(script: Script, tmp_path: Path) -> None:
    log = tmp_path / "log"
    handle = Handle("x", "", str(log))
    log.write_bytes("Grö".encode()[:-1])
    first, cursor = script.logs(handle)
    log.write_bytes("Größe\xff".encode() + b"\xfe")
    second, _ = script.logs(handle, cursor)
    assert first + second == "Größe\xff\ufffd"


def test_cancel_ends_even_what_has_left_the_process_group_and_ignores_sigterm(script: Script) -> None:
    code = (
        "import os, signal, subprocess, sys, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import os, time; os.setpgid(0, 0); print(1, flush=True); time.sleep(60)']);"
        "time.sleep(60)"
    )
    handle = run(script, code)
    wait(lambda: script.logs(handle)[0] == "1\n")
    session = int(handle.where.split()[-1])
    assert len(session_members(session)) == 2
    script.cancel(handle, grace_seconds=0.2)
    assert session_members(session) == []
    assert script.state(handle).exit_code == -signal.SIGKILL
    script.cancel(handle)


def test_spark_submit_gets_jars_and_memory_and_no_secret(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    conf = {"spark.master": "local[3]", "spark.driver.memory": "1g", "spark.driver.extraClassPath": "/jars/*"}
    submitter = LocalSparkSubmit(tmp_path, conf)
    driver = Driver("asgard-x-0", "asgard_assets.resources.step_main", ["file:///exchange"])
    command = submitter.command(driver)
    assert command[0].endswith("pyspark/bin/spark-submit")
    assert Path(command[-2]).is_file() and command[-1] == "file:///exchange"
    assert command[command.index("--master") + 1] == "local[3]"
    assert {
        "spark.driver.memory=1g",
        "spark.driver.extraClassPath=/jars/*",
        "spark.app.name=asgard-x-0",
    } <= set(command)
    assert not any("canary" in part for part in command)
    assert submitter.environment(driver)["PYSPARK_PYTHON"] == sys.executable


@pytest.mark.parametrize(
    ("state", "log", "fix"),
    [
        (State(1), "java.lang.OutOfMemoryError: Java heap space", "ASGARD_SPARK_MEMORY"),
        (State(52), "", "ASGARD_SPARK_MEMORY"),
        (State(-9), "", "ASGARD_SPARK_CORES"),
        (State(137), "", "ASGARD_SPARK_CORES"),
        (State(143), "", "who ended it"),
        (State(0), "", "os._exit"),
        (State(17), "", "log lines"),
    ],
)
def test_each_way_to_end_has_a_reason_and_something_to_change(state: State, log: str, fix: str) -> None:
    reason, hint = explain(state, log)
    assert reason
    assert fix in hint
