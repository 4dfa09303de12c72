"""Clusters: the places where runs start. Local; a Spark Connect server; Kubernetes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from asgard_assets.errors import AsgardError, ConfigError, NotFoundError, SourceError
from asgard_assets.settings import Settings

LOCAL = "local"
_SECONDS = 5.0


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
    """Where this platform runs, as its launcher says; then the Spark Connect servers of the settings."""
    start = {"none": 5.0, "spark-submit": 15.0, "kubernetes": 45.0}[settings.launcher]
    name, kind = (
        ("Kubernetes", "kubernetes") if settings.launcher == "kubernetes" else ("This machine", "local")
    )
    here = Place(LOCAL, name, kind, "", True, settings.dbu_per_hour, start)
    others = [
        Place(
            id,
            id,
            "spark-connect",
            _with_port(one.address, settings),
            False,
            settings.dbu_per_hour,
            1.0,
            one.workspaces,
        )
        for id, one in sorted(settings.clusters.items())
    ]
    return [here, *others]


def _with_port(address: str, settings: Settings) -> str:
    return address if ":" in address else f"{address}:{settings.spark_connect_port}"


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
            f"cluster: runs do not start at {id}; choose one that GET /api/v1/clusters shows with used: true"
        )
    return found


def test(settings: Settings, found: Place, clock: Callable[[], float] = time.perf_counter) -> Connection:
    """Whether runs could start there now: Java is here, the API server answers, or the server speaks gRPC."""
    began = clock()
    try:
        {"local": _local, "kubernetes": _kubernetes, "spark-connect": _spark_connect}[found.type](
            settings, found
        )
    except (AsgardError, OSError) as error:
        return Connection(found.id, False, round((clock() - began) * 1000, 1), str(error))
    return Connection(found.id, True, round((clock() - began) * 1000, 1))


def _local(settings: Settings, _: Place) -> None:
    from asgard_assets.spark.java import java

    java()


def _kubernetes(settings: Settings, _: Place) -> None:
    from asgard_assets.spark.kube import Api

    Api.connect().get("/version")


def _spark_connect(settings: Settings, found: Place) -> None:
    import grpc

    tls = settings.clusters[found.id].tls
    made = (
        grpc.secure_channel(found.address, grpc.ssl_channel_credentials())
        if tls
        else grpc.insecure_channel(found.address)
    )
    try:
        grpc.channel_ready_future(made).result(timeout=_SECONDS)
    except grpc.FutureTimeoutError as error:
        how = "over TLS" if tls else "without TLS"
        raise SourceError(
            f"{found.address} does not answer as a Spark Connect server {how} within {_SECONDS:g} s; check its address, port "
            "and `tls` in ASGARD_CLUSTERS",
            source=found.id,
        ) from error
    finally:
        made.close()
