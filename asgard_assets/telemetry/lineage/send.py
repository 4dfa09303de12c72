"""Where lineage events go: an OpenLineage endpoint, such as Marquez, or a file with an event a line."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from asgard_assets.errors import ConfigError, SourceError, Transient
from asgard_assets.telemetry.lineage.events import Event

log = logging.getLogger(__name__)
_PATH = "/api/v1/lineage"
_SECONDS = 5.0


class LineageAway(Transient, SourceError):
    """Nobody takes lineage events at the moment."""


def send(url: str, found: Sequence[Event], seconds: float = _SECONDS) -> int:
    """Send events in order; returns how many were taken. One that is refused as wrong is logged and left out.

    Raises LineageAway where nobody answers: what was sent before stays, and sending it again changes nothing.
    ConfigError where the address is none.
    """
    place = urlsplit(url)
    if place.scheme in ("http", "https"):
        address = url if place.path.strip("/") else f"{url.rstrip('/')}{_PATH}"
        return sum(_post(address, event, seconds) for event in found)
    if place.scheme in ("", "file"):
        return _append(Path(unquote(place.path)), found)
    raise ConfigError(
        f"OPENLINEAGE_URL begins with {place.scheme}: write http://host:port, or file:/path/events.jsonl",
        field="openlineage_url",
    )


def _post(address: str, event: Event, seconds: float) -> bool:
    body = json.dumps(event).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=seconds):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        if error.code == 429 or error.code >= 500:
            raise LineageAway(f"OPENLINEAGE_URL: the endpoint answers {error.code}") from error
        job, told = event["job"]["name"], error.read(500).decode(errors="replace")
        log.warning("OPENLINEAGE_URL: an event of %s was refused (%s): %s", job, error.code, told)
        return False
    except (OSError, ValueError, HTTPException) as error:
        raise LineageAway(
            f"OPENLINEAGE_URL: nobody answers ({getattr(error, 'reason', error)}). Is the endpoint up?"
        ) from error


def _append(path: Path, found: Sequence[Event]) -> int:
    """One write: lines of several processes do not mix."""
    lines = "".join(f"{json.dumps(event)}\n" for event in found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
    except OSError as error:
        raise LineageAway(f"OPENLINEAGE_URL: {path} cannot be written ({error.strerror})") from error
    return len(found)
