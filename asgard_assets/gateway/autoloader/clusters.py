"""`/api/v1/clusters`: the places where runs start."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from asgard_assets.gateway.accounts.callers import Operator, Reader
from asgard_assets.gateway.platform import Here
from asgard_assets.operations.autoloader.places import Connection, Place, place, places, test

router = APIRouter(prefix="/api/v1/clusters", tags=["Clusters"])


class Clusters(BaseModel):
    clusters: list[Place] = Field(
        description="The places that the caller's workspaces see; runs start where used is true."
    )
    total: int = Field(description="How many there are.")


@router.get("")
def list_clusters(here: Here, caller: Reader) -> Clusters:
    """The places where runs start, and Spark Connect servers that the settings name."""
    found = [one for one in places(here.settings) if one.seen_by(caller.sees)]
    return Clusters(clusters=found, total=len(found))


@router.get("/{cluster_id}")
def get_cluster(cluster_id: str, here: Here, caller: Reader) -> Place:
    """One place."""
    return place(here.settings, cluster_id, caller.sees)


@router.post("/{cluster_id}/test-connection")
def test_connection(cluster_id: str, here: Here, caller: Operator) -> Connection:
    """Whether runs could start there now; where not, why."""
    return test(here.settings, place(here.settings, cluster_id, caller.sees))
