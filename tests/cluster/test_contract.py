"""What holds for every place where steps run, on Kubernetes and through S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.spark.application import merged
from asgard_assets.spark.kube import Api
from asgard_assets.spark.kubernetes import KubernetesSubmitter
from asgard_assets.spark.submit import Driver
from tests.cluster.world import IMAGE, NAMESPACE, SMALL, World
from tests.resources.test_launcher import day, days, execute, story
from tests.spark import submitter_contract as contract


@pytest.mark.together
@pytest.mark.parametrize("promise", contract.ALL, ids=lambda p: p.__name__)
def test_a_spark_application_keeps_the_contract(world: World, promise: Callable[..., None]) -> None:
    spec = merged("test", {"image": IMAGE, "driver": {"serviceAccount": "spark"}}, SMALL)
    submitter = KubernetesSubmitter(Api.connect(world.kubeconfig), NAMESPACE, spec, poll_seconds=1)
    name = f"asgard-contract-{contract.ALL.index(promise)}"

    def driver(code: str) -> Driver:
        program = "local:///opt/asgard/tests/cluster/program.py"
        return Driver(name, "", [code], {"COLOUR": "blue"}, program)

    promise(submitter, driver)
    world.nothing_left(name)


@pytest.fixture
def both(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Runs assets of tests/resources/launched.py in process and on the cluster; returns both stories."""
    home = world.home("contract")
    instances, ran = [], set[str]()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        instances.append(dg.DagsterInstance.local_temp(str(tmp_path / name)))
        instances[-1].add_dynamic_partitions("files", ["a.csv", "b.csv"])
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)

    def run(*assets: str, tags: dict[str, str] | None = None) -> tuple[Any, Any]:
        logs = []
        for launcher, instance in zip(("none", "kubernetes"), instances, strict=True):
            monkeypatch.setenv("ASGARD_LAUNCHER", launcher)
            logs.append(execute(instance, assets, tags))
        ran.add(f"asgard-{logs[1][0].run_id[:8]}-")
        return story(logs[0]), story(logs[1])

    yield run
    world.nothing_left(*ran)
    for instance in instances:
        instance.dispose()


def test_steps_tell_the_same_story_as_in_process(both: Callable[..., tuple[Any, Any]]) -> None:
    """Ranges, checks, metadata, logs, provenance; subsets; dynamic partitions; errors; retries."""
    for date in ("2026-10-05", "2026-10-06"):
        both("upstream", tags=day(date))
    for assets, tags in (
        (("table",), days("2026-10-05", "2026-10-06")),
        (("second",), day("2026-10-05")),
        (("from_file",), day("b.csv")),
        (("failing",), {}),
        (("second_try",), {}),
    ):
        here, there = both(*assets, tags=dict(tags))
        assert there == here, json.dumps([here, there], default=str, indent=1)[:4000]
