"""One connector command as a subprocess: its messages as they come, and a reason when it goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from deployments.local.airbyte import protocol
from deployments.local.airbyte.protocol import ConnectorError, Message

LEASH = Path(__file__).with_name("leash.py")


class Connector:
    """A running `spec`, `check`, `discover` or `read`. A context manager: on leaving, nothing of it runs.

    `messages()` yields what it says and raises ConnectorError when it breaks the protocol, reports an error,
    exits with another code than 0, dies by a signal, or outlives `timeout_seconds`.
    """

    def __init__(
        self, command: Path, arguments: list[str], log: IO[bytes], folder: Path, timeout_seconds: float = 3600
    ) -> None:
        self.name = command.name
        self._log = log
        self._late = threading.Event()
        self._cut = False
        self._ending = threading.Lock()
        self._timeout_seconds = timeout_seconds
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LEASH), str(command), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._timer = threading.Timer(timeout_seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def kill(self) -> None:
        """End the connector and every process that it started; safe at any time and more than once."""
        with self._ending:
            # Signal before the leader is reaped: until then its number cannot belong to another group.
            if self._process.returncode is None:
                try:
                    os.killpg(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                self._process.wait()

    def messages(self) -> Iterator[Message]:
        said = ""
        last: deque[str] = deque(maxlen=1)
        assert self._process.stdout is not None
        try:
            for message in protocol.messages(self._lines(self._process.stdout)):
                error = protocol.trace_error(message)
                said = error or said
                if message["type"] in ("LOG", "TRACE"):
                    last.append(self._note(message))
                yield message
        except ConnectorError as error:
            # A connector that was killed in the middle of a line wrote no bad line: its end is the reason.
            if not self._cut or self._end() == 0:
                raise ConnectorError(f"{self.name}: {error}") from error
        code = self._end()
        if self._late.is_set():
            raise ConnectorError(f"{self.name}: no end after {self._timeout_seconds:g} s, so it was killed")
        if code > 128:
            raise ConnectorError(
                f"{self.name}: killed by {_signal(code - 128)}; {said or 'it reported no error'}"
            )
        if code < 0:
            raise ConnectorError(f"{self.name}: killed by {_signal(-code)}; {said or 'it reported no error'}")
        if code or said:
            reason = said or (last[0] if last else "it reported no error; see the job's log")
            raise ConnectorError(f"{self.name}: exited with code {code}: {reason}")

    def _lines(self, stdout: IO[bytes]) -> Iterator[bytes]:
        """Lines, cut at a little over the longest that is allowed: a connector must not fill the memory."""
        while line := stdout.readline(protocol.LONGEST_LINE + 1):
            self._cut = not line.endswith(b"\n") and len(line) <= protocol.LONGEST_LINE
            yield line

    def _note(self, message: Message) -> str:
        """Copy what is meant for people into the job's log."""
        if message["type"] == "LOG":
            text = f"{message['log'].get('level', 'INFO')} {message['log'].get('message', '')}"
        elif error := protocol.trace_error(message):
            text = f"ERROR {error}\n{(message['trace'].get('error') or {}).get('stack_trace') or ''}".rstrip()
        elif status := protocol.stream_status(message):
            text = f"INFO stream {status[0]}: {status[1]}"
        else:
            return ""
        self._log.write(text.encode() + b"\n")
        self._log.flush()
        return text

    def _end(self) -> int:
        """Exit code, once the connector has ended by itself; its stray workers are swept up."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # a kill() in another thread has reaped it
        self.kill()
        assert self._process.returncode is not None
        return self._process.returncode

    def _expire(self) -> None:
        self._late.set()
        self.kill()


def discover(command: Path, config: Mapping[str, Any], log: IO[bytes], folder: Path) -> list[dict[str, Any]]:
    """The streams that the source offers, as the connector describes them."""
    path = write_private(folder / "config.json", config)
    with Connector(command, ["discover", "--config", str(path)], log, folder, timeout_seconds=300) as running:
        catalogs = [m["catalog"]["streams"] for m in running.messages() if m["type"] == "CATALOG"]
    if len(catalogs) != 1:
        raise ConnectorError(f"{command.name}: `discover` gave {len(catalogs)} catalogs instead of one")
    return catalogs[0]


def write_private(path: Path, value: object) -> Path:
    """Write JSON that only this user can read: configurations hold secrets."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(value))
    return path


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
