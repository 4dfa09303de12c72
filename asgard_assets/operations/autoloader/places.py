"""Clusters: the places where runs start. Local; a Spark Connect server; Kubernetes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asgard_assets.errors import AsgardError, ConfigError, NotFoundError
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from asgard_assets.spark.connect import Address

Kind = Literal["local", "spark-connect", "kubernetes"]
LOCAL = "local"
_KINDS: dict[str, tuple[str, Kind]] = {
    "kubernetes": ("Kubernetes", "kubernetes"),
    "connect": ("Spark Connect", "spark-connect"),
}


@dataclass(frozen=True)
class Place:
    """A place to run. `start_seconds`: what a run takes before it reads; `used`: runs of ingestions start there."""

    id: str
    name: str
    type: Kind
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
    start = {"none": 5.0, "spark-submit": 15.0, "kubernetes": 45.0, "connect": 1.0}[settings.launcher]
    name, kind = _KINDS.get(settings.launcher, ("This machine", "local"))
    address = settings.spark_connect if settings.launcher == "connect" else ""
    here = Place(LOCAL, name, kind, address, True, settings.dbu_per_hour, start)
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
    """Whether runs could start there now: Java is here, the API server answers, or the Spark server lets us in and has Delta."""
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
    from asgard_assets.spark.connect.sessions import Sessions

    Sessions(_address(settings, found), {}).probe()


def _address(settings: Settings, found: Place) -> Address:
    from asgard_assets.ingest.api.source.secrets import resolve
    from asgard_assets.resources.connect import address_of
    from asgard_assets.spark.connect import Address

    if found.id == LOCAL:
        return address_of(settings)
    one, (host, _, port) = settings.clusters[found.id], found.address.partition(":")
    token = resolve(one.token, "ASGARD_CLUSTERS").value if one.token else ""
    named = f"{found.id} in ASGARD_CLUSTERS"
    return Address(host, int(port), one.tls, token, setting=named, token_setting=named)
