"""When an application is looked at, and what is said of one that is gone. Its API server is a dictionary here; a real
one with all that can go wrong is in tests/cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from asgard_assets.spark import kubernetes
from asgard_assets.spark.application import SparkApplicationSpec
from asgard_assets.spark.kubernetes import KubernetesSubmitter
from asgard_assets.spark.submit import Driver, Handle


class Objects:
    """The calls that a submitter makes of `kube.Api`, over a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.reads: list[str] = []
        self.calls = 0

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        made = {**body, "metadata": {**body["metadata"], "uid": "1"}}
        self.objects[f"{path}/{body['metadata']['name']}"] = made
        return made

    def get(self, path: str, **query: str) -> Any:
        self.reads.append(path)
        return self.objects.get(path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(kubernetes.time, "monotonic", lambda: now[0])
    return now


def submitted(**spec: Any) -> tuple[Objects, KubernetesSubmitter, Handle]:
    api = Objects()
    submitter = KubernetesSubmitter(
        api,  # pyright: ignore[reportArgumentType]
        "pipelines",
        SparkApplicationSpec(image="spark:1", **spec),
        poll_seconds=10,
    )
    return api, submitter, submitter.submit(Driver("asgard-1", "program", [], {}))


def test_an_application_is_looked_at_twice_in_the_time_that_an_ended_one_is_kept(
    clock: list[float],
) -> None:
    api, submitter, handle = submitted(time_to_live_seconds=20)
    clock[0] += 100  # it waits in the operator's queue, where looks are rare
    submitter.state(handle)
    api.reads.clear()
    for _ in range(20):
        clock[0] += 1
        submitter.state(handle)
    assert sum("sparkapplications" in path for path in api.reads) == 2


def test_one_that_may_have_expired_unseen_is_not_called_deleted(clock: list[float]) -> None:
    for slept, told in ((30.0, "did not look at its SparkApplication for 30 s"), (12.0, "was deleted while")):
        api, submitter, handle = submitted(time_to_live_seconds=20)
        submitter.state(handle)
        api.objects.clear()
        clock[0] += slept
        state = submitter.state(handle)
        assert state.lost and state.retry and told in state.reason
