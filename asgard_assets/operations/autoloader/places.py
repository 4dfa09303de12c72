"""Clusters: the places where runs start. Local; a Spark Connect server; Kubernetes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.settings import Settings

LOCAL = "local"
Status = Literal["available", "unavailable"]


@dataclass(frozen=True)
class Place:
    """A place to run. `start_seconds`: what a run takes before it reads; `used`: runs of ingestions start there."""

    id: str
    name: str
    type: Literal["local", "spark-connect", "kubernetes"]
    address: str
    used: bool
    dbu_per_hour: float
    start_seconds: float
    workspaces: tuple[str, ...] = ("*",)

    def seen_by(self, sees: Callable[[str], bool]) -> bool:
        return "*" in self.workspaces or any(sees(workspace) for workspace in self.workspaces)


@dataclass(frozen=True)
class Connection:
    """How a test of a place went. `reason`: what to do where it failed."""

    id: str
    ok: bool
    milliseconds: float
    reason: str = ""


def places(settings: Settings) -> list[Place]:
    """Where this platform can run: where its launcher starts steps."""
    start = {"none": 5.0, "spark-submit": 15.0, "kubernetes": 45.0}[settings.launcher]
    if settings.launcher == "kubernetes":
        return [Place(LOCAL, "Kubernetes", "kubernetes", "", True, settings.dbu_per_hour, start)]
    return [Place(LOCAL, "This machine", "local", "", True, settings.dbu_per_hour, start)]


def place(settings: Settings, id: str, sees: Callable[[str], bool]) -> Place:
    """Raises NotFoundError where there is none that the caller may see."""
    found = next((one for one in places(settings) if one.id == id and one.seen_by(sees)), None)
    if found is None:
        known = ", ".join(one.id for one in places(settings) if one.seen_by(sees))
        raise NotFoundError(f"there is no cluster {id[:70]}; there are {known}")
    return found


def to_run(settings: Settings, id: str, sees: Callable[[str], bool]) -> Place:
    """The place, where runs of ingestions start there. Raises ConfigError where none do."""
    try:
        found = place(settings, id, sees)
    except NotFoundError as error:
        raise ConfigError(f"cluster: {error}") from error
    if not found.used:
        raise ConfigError(
            f"cluster: runs do not start at {id}; choose one that GET /api/v1/clusters shows as used"
        )
    return found


def reach(
    host: str, port: int, seconds: float = 5.0, clock: Callable[[], float] = time.perf_counter
) -> tuple[bool, float, str]:
    """Whether something listens there, and how long it took."""
    began = clock()
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        return False, (clock() - began) * 1000, f"{host}:{port} does not answer: {error}"
    return True, (clock() - began) * 1000, ""
