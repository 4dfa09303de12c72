"""The Airbyte protocol, as far as a platform must understand it to run a source: one JSON message a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

Message = dict[str, Any]

BODIES = {kind: kind.lower() for kind in ("RECORD", "STATE", "LOG", "TRACE", "SPEC", "CATALOG", "CONTROL")}
BODIES["CONNECTION_STATUS"] = "connectionStatus"
LONGEST_LINE = 64 * 1024 * 1024


class ConnectorError(Exception):
    """The connector failed or broke the protocol; the text is the reason that the job shows."""


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    """Yield one message per line. Raises ConnectorError at the first line that is none, quoting it.

    A platform that skipped such lines would land half a stream and call it a success.
    """
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise ConnectorError(f"line {number} of its output is longer than {LONGEST_LINE >> 20} MiB")
        if not line.strip():
            continue
        try:
            message = _parsed(line)
        except ValueError as error:
            raise ConnectorError(f"line {number} of its output is no JSON: {_quoted(line)}") from error
        body = BODIES.get(str(message.get("type"))) if isinstance(message, dict) else None
        if body is None or not isinstance(message.get(body), dict):
            raise ConnectorError(f"line {number} of its output is no Airbyte message: {_quoted(line)}")
        yield message


def trace_error(message: Message) -> str | None:
    """The reason in a TRACE message of type ERROR; None for any other message."""
    trace = message.get("trace") or {}
    if message["type"] != "TRACE" or trace.get("type") != "ERROR":
        return None
    error = trace.get("error") or {}
    kind = error.get("failure_type", "unknown")
    return f"{error.get('message') or error.get('internal_message') or 'no message'} ({kind})"


def stream_status(message: Message) -> tuple[str, str] | None:
    """(stream, status) of a TRACE message of type STREAM_STATUS; None for any other message."""
    trace = message.get("trace") or {}
    if message["type"] != "TRACE" or trace.get("type") != "STREAM_STATUS":
        return None
    status = trace["stream_status"]
    return status["stream_descriptor"]["name"], status["status"]


class States:
    """The connector's checkpoints: one state a stream, or one for all; the latest wins.

    `latest` names the stream that the last state was of; empty where it was of all. Connectors from before 2022
    have one for all without a type, and want it back without its wrapping.
    """

    def __init__(self, messages: Iterable[Mapping[str, Any]] = ()) -> None:
        self._states: dict[str, dict[str, Any]] = {}
        self.latest = ""
        for message in messages:
            self.add(message)

    def add(self, state: Mapping[str, Any]) -> None:
        kind = state.get("type")
        if kind == "STREAM":
            self.latest = state["stream"]["stream_descriptor"]["name"]
            self._states[self.latest] = {"type": kind, "stream": state["stream"]}
        elif kind == "GLOBAL":
            self.latest = ""
            self._states = {"": {"type": kind, "global": state["global"]}}
        elif kind in (None, "LEGACY"):
            self.latest = ""
            self._states = {"": {"type": "LEGACY", "data": state["data"]}}
        else:
            raise ConnectorError(f"its state is of type {kind}, which this platform does not know")

    def given(self, streams: Iterable[str]) -> list[dict[str, Any]] | dict[str, Any]:
        """What the connector is given at the start of the next read of these streams; empty for nothing."""
        known = self.of(streams)
        return known[0]["data"] if known and known[0]["type"] == "LEGACY" else known

    def of(self, streams: Iterable[str]) -> list[dict[str, Any]]:
        """The states of these streams, one that is for all among them."""
        wanted = set(streams)
        return [state for name, state in sorted(self._states.items()) if name in wanted or name == ""]

    def forget(self, stream: str) -> None:
        self._states.pop(stream, None)

    def copy(self) -> States:
        return States(self._states.values())

    def all(self) -> list[dict[str, Any]]:
        return [state for _, state in sorted(self._states.items())]


def _parsed(line: bytes) -> Any:
    """The line's JSON; half a character (`\\ud83d` alone), which Python writes and JSON has not, becomes `?`."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if b"\\ud" not in line.lower():
            raise
        return orjson.loads(json.dumps(json.loads(line), ensure_ascii=False).encode(errors="replace"))


def _quoted(line: bytes) -> str:
    text = line[:200].decode("utf-8", "replace").rstrip()
    return repr(text + ("…" if len(line) > 200 else ""))
