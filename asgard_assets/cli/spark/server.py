"""Keeps a Spark Connect server running on this machine: started again where it ends, ended with its keeper."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator

from asgard_assets import project
from asgard_assets.cli import children
from asgard_assets.cli.terminal import console
from asgard_assets.errors import AsgardError
from asgard_assets.settings import Settings
from asgard_assets.spark.connect import LocalServer
from asgard_assets.spark.connect.sessions import Sessions
from asgard_assets.spark.session import session_conf, statement_conf

_POLL_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
"""Least time between two starts: a server that cannot start is not tried in a loop."""


def serve() -> int:
    """Run the server until this process is told to end; returns the exit code."""
    settings = Settings()
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    server, conf = LocalServer.new(settings), session_conf(settings)
    with server.announced():
        while not told:
            began = time.monotonic()
            with _running(server, conf) as process:
                _warm(server, settings, process)
                while process.poll() is None and not told:
                    time.sleep(_POLL_SECONDS)
                if process.poll() is not None and not told:
                    console.print(
                        f"Spark ended (exit code {process.returncode}); see {server.log}. It is started again."
                    )
            while not told and time.monotonic() - began < _PAUSE_SECONDS:
                time.sleep(_POLL_SECONDS)
    return 0


@contextlib.contextmanager
def _running(server: LocalServer, conf: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = ["sh", "-c", 'exec "$0" "$@" >> "$ASGARD_SPARK_LOG" 2>&1', *server.command(conf)]
    found = project.find()
    folder = found.folder if found else server.folder
    process = children.start(command, folder, server.environment() | {"ASGARD_SPARK_LOG": str(server.log)})
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _warm(server: LocalServer, settings: Settings, process: subprocess.Popen[bytes]) -> None:
    sessions = Sessions(server.address, statement_conf(settings))
    try:
        session = sessions.open()
        try:
            seconds = server.warm_up(session)
        finally:
            sessions.close(session)
    except AsgardError as error:
        console.print(f"Spark: {error.message}", highlight=False)
        return
    console.print(
        f"Spark is warm at {server.address} ({seconds:.1f} s for its first table).", highlight=False
    )
