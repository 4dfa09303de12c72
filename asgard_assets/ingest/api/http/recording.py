"""Answers kept in a folder, sanitised, and given again without the API: for CI, backfills and bug reports.

A recording stands outside auth: the requests in it never had credentials, and what answers echo is masked.
One line of JSON an answer, in 256 buckets by request, a file a worker; repeated tries are kept in order.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asgard_assets.errors import ConfigError, SourceError, Terminal
from asgard_assets.ingest.api.http import messages
from asgard_assets.ingest.api.http.messages import Request, Response, Send, TransportError
from asgard_assets.ingest.api.source.secrets import MASK, Redactor, carries_a_login, without_logins

MANIFEST = "recording.json"
_HOLDS = 64  # buckets that a replaying worker keeps in memory


class NotRecorded(Terminal, SourceError):
    """A replay was asked for a request that the recording does not hold."""


def begin(folder: Path, source: str, base_url: str) -> None:
    """Make an empty recording. Raises ConfigError where the folder holds one already."""
    manifest = folder / MANIFEST
    if manifest.exists():
        raise ConfigError(
            f"{source}: {folder} holds a recording already; remove it, or record into another folder",
            field="transport.record",
        )
    folder.mkdir(parents=True, exist_ok=True)
    told = {"source": source, "base_url": base_url, "recorded_at": datetime.now(UTC).isoformat()}
    manifest.write_text(json.dumps(told, indent=1) + "\n")


def recorded_base_url(folder: Path, source: str) -> str:
    """The API that was recorded; links between pages lead there. Raises ConfigError where nothing is."""
    try:
        return json.loads((folder / MANIFEST).read_text())["base_url"]
    except OSError as error:
        raise ConfigError(
            f"{source}: {folder} holds no recording ({error.strerror}: {MANIFEST}); make one with `--record`",
            field="transport.replay",
        ) from error


def key_of(request: Request) -> str:
    """What makes two requests the same: method, path with query, and body; not the host, not credentials."""
    parts = urlsplit(request.url)
    wanted = b"\n".join(
        [request.method.encode(), f"{parts.path}?{parts.query}".encode(), request.body or b""]
    )
    return hashlib.sha256(wanted).hexdigest()


class Recorder:
    """The middleware that writes down every try with its answer, or with the error that came instead."""

    def __init__(self, folder: Path, label: str, redactor: Redactor):
        self._folder, self._label, self._redactor = folder, label, redactor

    async def __call__(self, request: Request, send: Send) -> Response:
        try:
            response = await send(request)
        except TransportError as error:
            self._write(
                request, {"error": type(error).__name__, "message": self._redactor.text(error.message)}
            )
            raise
        headers = {
            name: MASK if carries_a_login(name) else self._redactor.text(value)
            for name, value in response.headers.items()
        }
        try:
            kept = {"body": self._redactor.text(response.body.decode())}
        except UnicodeDecodeError:
            clean = self._redactor.text(response.body.decode("latin-1")).encode("latin-1")
            kept = {"body64": base64.b64encode(clean).decode()}
        self._write(request, {"status": response.status, "headers": headers, **kept})
        return response

    def _write(self, request: Request, answer: dict[str, Any]) -> None:
        key = key_of(request)
        line = {
            "key": key,
            "at": time.time(),
            "method": request.method,
            "url": self._redactor.text(without_logins(request.url)),
        }
        bucket = self._folder / key[:2]
        bucket.mkdir(exist_ok=True)
        with (bucket / f"{self._label}.jsonl").open("a") as file:
            file.write(json.dumps(line | answer) + "\n")


class Replayer:
    """The middleware that answers from a recording: tries in the order in which they were answered."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._buckets: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._given: Counter[str] = Counter()

    async def __call__(self, request: Request, send: Send) -> Response:
        key = key_of(request)
        answers = self._bucket(key[:2]).get(key)
        if not answers:
            raise NotRecorded(f"{request.method} {request.url} is not in the recording {self._folder}")
        answer = answers[min(self._given[key], len(answers) - 1)]
        self._given[key] += 1
        if "error" in answer:
            kind = getattr(messages, answer["error"], TransportError)
            raise kind(answer["message"])
        body = base64.b64decode(answer["body64"]) if "body64" in answer else answer["body"].encode()
        # Nobody is there to be spared: what is to be tried again is tried at once.
        headers = {name: value for name, value in answer["headers"].items() if name != "retry-after"}
        return Response(answer["status"], headers, body)

    def _bucket(self, name: str) -> dict[str, list[dict[str, Any]]]:
        if name not in self._buckets:
            if len(self._buckets) >= _HOLDS:
                self._buckets.pop(next(iter(self._buckets)))
            lines = [
                json.loads(line)
                for path in sorted((self._folder / name).glob("*.jsonl"))
                for line in path.read_text().splitlines()
            ]
            found: dict[str, list[dict[str, Any]]] = {}
            for line in sorted(lines, key=lambda line: line["at"]):
                found.setdefault(line["key"], []).append(line)
            self._buckets[name] = found
        return self._buckets[name]
