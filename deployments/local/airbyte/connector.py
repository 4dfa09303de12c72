"""One connector command as a subprocess: its messages as they come, and a reason when it goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from deployments.local.airbyte import protocol
from deployments.local.airbyte.files import Log, write_private
from deployments.local.airbyte.manifest import LOW_CODE
from deployments.local.airbyte.protocol import ConnectorError, Message

LEASH, CLOCK, GUARD = (Path(__file__).with_name(name) for name in ("leash.py", "clock.py", "guard.py"))
INHERITED = frozenset(
    ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
    + ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    + ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
)
"""What a connector gets of the server's environment, `LC_*` too: no secrets of the lake or of other sources."""
Keep = Callable[[Mapping[str, Any]], None]
"""Keeps the configuration that a connector sends back: one whose token serves once tells the next one so."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """How long a connector may take and how much it may say. A disk is filled faster than a patience ends."""

    seconds: float = 3600
    output_bytes: int = 10 << 30
    log_bytes: int = 16 << 20


class Connector:
    """A running `spec`, `check`, `discover` or `read`. A context manager: on leaving, nothing of it runs.

    `messages()` yields what it says and raises ConnectorError when it breaks the protocol, reports an error,
    exits with another code than 0, dies by a signal, or outlives `timeout_seconds`. One of connectors.lock can be
    made to take a fixed moment, `now`, for the present.
    """

    def __init__(
        self,
        command: Path,
        arguments: list[str],
        log: Log,
        folder: Path,
        limits: Limits | None = None,
        now: datetime | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.name = command.name
        self._keep = keep
        self._log = log
        self._late = threading.Event()
        self._cut = False
        self._ending = threading.Lock()
        self._limits = limits or Limits()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LEASH), *_wrapped(command, now), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment() | ({"TZ": "UTC"} if now else {}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._timer = threading.Timer(self._limits.seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.kill()
        self._listener.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
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
                elif message["type"] == "CONTROL" and self._keep:
                    sent = message["control"].get("connectorConfig") or {}
                    if isinstance(sent.get("config"), dict):
                        self._keep(sent["config"])
                yield message
        except ConnectorError as error:
            # A connector that was killed in the middle of a line wrote no bad line: its end is the reason. So it is
            # where the bad line is what the processes of a killed one had to say of that.
            if not (self._cut and self._end() != 0) and not self._is_being_killed():
                raise ConnectorError(f"{self.name}: {error}") from error
        code = self._end()
        if self._late.is_set():
            raise ConnectorError(f"{self.name}: no end after {self._limits.seconds:g} s, so it was killed")
        if code > 128:
            raise ConnectorError(
                f"{self.name}: killed by {_signal(code - 128)}; {said or 'it reported no error'}"
            )
        if code < 0:
            raise ConnectorError(f"{self.name}: killed by {_signal(-code)}; {said or 'it reported no error'}")
        if code or said:
            reason = said or (last[0] if last else "it reported no error; see the job's log")
            raise ConnectorError(f"{self.name}: exited with code {code}: {reason}")

    def _is_being_killed(self, seconds: float = 2) -> bool:
        """Does it end by a signal within so many seconds?"""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                return True  # a kill() in another thread has reaped it
            if ended:
                return ended.si_code != os.CLD_EXITED or ended.si_status > 128
            time.sleep(0.02)
        return False

    def _lines(self, stdout: IO[bytes]) -> Iterator[bytes]:
        """Lines, cut at a little over the longest that is allowed: a connector must not fill the memory."""
        total = 0
        while line := stdout.readline(protocol.LONGEST_LINE + 1):
            self._cut = not line.endswith(b"\n") and len(line) <= protocol.LONGEST_LINE
            total += len(line)
            if total > self._limits.output_bytes:
                raise ConnectorError(f"said more than {self._limits.output_bytes:,} bytes, so it was stopped")
            yield line

    def _listen(self) -> None:
        """Copy what it writes to standard error into the job's log; never leave it waiting for a reader."""
        assert self._process.stderr is not None
        while chunk := os.read(self._process.stderr.fileno(), _CHUNK):
            self._log.write(chunk)

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
        self._log.write(text.encode("utf-8", "backslashreplace") + b"\n")
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


def spec(command: Path, log: Log, folder: Path) -> dict[str, Any]:
    """What the connector says about itself; `connectionSpecification` is the schema of its configuration."""
    return _one(command, ["spec"], "SPEC", "spec", log, folder)


def check(command: Path, config: Mapping[str, Any], log: Log, folder: Path, keep: Keep | None = None) -> str:
    """Why the configuration does not work; empty where it does. Raises ConnectorError where it cannot say."""
    path = write_private(folder / "config.json", config)
    arguments = ["check", "--config", str(path)]
    answer = _one(command, arguments, "CONNECTION_STATUS", "connectionStatus", log, folder, keep)
    return "" if answer.get("status") == "SUCCEEDED" else str(answer.get("message") or "it gives no reason")


def discover(
    command: Path, config: Mapping[str, Any], log: Log, folder: Path, keep: Keep | None = None
) -> list[dict[str, Any]]:
    """The streams that the source offers, as the connector describes them."""
    path = write_private(folder / "config.json", config)
    arguments = ["discover", "--config", str(path)]
    streams = _one(command, arguments, "CATALOG", "catalog", log, folder, keep).get("streams")
    if not isinstance(streams, list):
        raise ConnectorError(f"{command.name}: `discover` gave a catalog without streams")
    return streams


def _one(
    command: Path,
    arguments: list[str],
    kind: str,
    body: str,
    log: Log,
    folder: Path,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """The one message of this kind that the command has to give."""
    with Connector(command, arguments, log, folder, Limits(seconds=300), keep=keep) as running:
        found = [message[body] for message in running.messages() if message["type"] == kind]
    if len(found) != 1:
        raise ConnectorError(f"{command.name}: `{arguments[0]}` gave {len(found)} answers instead of one")
    return found[0]


def _wrapped(command: Path, now: datetime | None) -> list[str]:
    """The command, under the guard if it is the low-code connector, and under a clock if it has one."""
    guarded = command.name == LOW_CODE
    python = command.with_name("python")
    if (now or guarded) and not python.exists():
        lack = "hold its clock: leave out `now`" if now else "guard it: use the one of connectors.lock"
        raise ConnectorError(f"{command.name}: no `python` beside it that could {lack}")
    clock = [str(CLOCK), now.isoformat()] if now else []
    guard = [str(GUARD)] if guarded else []
    return [*([str(python), "-P"] if clock or guard else []), *clock, *guard, str(command)]


def _environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if n.upper() in INHERITED or n.startswith("LC_")}
    return {**kept, "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
