"""How bytes travel: which client, how long each phase may take, how connections are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asgard_assets.quality.tables import Model


class Timeouts(Model):
    """Of one try; none of them bounds the tries together, which is `retry.deadline_seconds`."""

    connect_seconds: float = Field(default=10, gt=0, description="Name lookup, TCP and TLS.")
    read_seconds: float | None = Field(
        default=None, ge=1, description="Longest silence while an answer is awaited; default: no bound."
    )
    total_seconds: float = Field(default=30, gt=0, description="From connect to the last byte.")


class Connections(Model):
    """TCP connections of each Spark task."""

    most: int | None = Field(
        default=None, ge=1, description="Open at once; default: as many as requests are in flight."
    )
    idle_seconds: int = Field(default=60, ge=1, description="An unused connection is closed after this.")
    dns_cache_seconds: int = Field(default=300, ge=0, description="How long a looked-up name is trusted.")


class Wire(Model):
    """The section `transport` of a source."""

    type: Literal["aiohttp", "native"] = Field(
        default="aiohttp",
        description="The HTTP client: `aiohttp`, or `native` (libcurl), which needs less than half its CPU time.",
    )
    timeouts: Timeouts = Timeouts()
    connections: Connections = Connections()
