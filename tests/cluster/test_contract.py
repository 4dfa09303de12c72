"""What holds for every place where steps run, on Kubernetes and through S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.methods.event_methods import EventMethods

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
    spec = merged({"test": {"image": IMAGE, "driver": {"serviceAccount": "spark-sa"}}, "small": SMALL})
    submitter = KubernetesSubmitter(Api.connect(world.kubeconfig), NAMESPACE, spec, poll_seconds=1)
    name = f"asgard-contract-{contract.ALL.index(promise)}"

    def driver(code: str) -> Driver:
        program = "local:///opt/asgard/tests/cluster/program.py"
        return Driver(name, "", [code], {"COLOUR": "blue"}, program)

    promise(submitter, driver)
    world.nothing_left(name)


DATES = ("2026-10-05", "2026-10-06")
STORIES: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    (("table",), days(*DATES)),
    (("second",), day(DATES[0])),
    (("from_file",), day("b.csv")),
    (("failing",), {}),
    (("second_try",), {}),
)


def test_steps_tell_the_same_story_as_in_process(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges, checks, metadata, logs, provenance; subsets; dynamic partitions; errors; retries."""
    for name, value in world.home("contract").environment.items():
        monkeypatch.setenv(name, value)
    # Each run configures Python's logging anew, which deadlocks where other threads of the process are running runs.
    monkeypatch.setattr(EventMethods, "get_yaml_python_handlers", lambda self: [])
    told: dict[str, list[Any]] = {}
    for launcher in ("none", "kubernetes"):
        monkeypatch.setenv("ASGARD_LAUNCHER", launcher)
        (tmp_path / launcher).mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / launcher)) as instance:
            instance.add_dynamic_partitions("files", ["a.csv", "b.csv"])
            for date in DATES:
                execute(instance, ("upstream",), day(date))
            # Side by side, as steps of different runs are.
            with ThreadPoolExecutor(len(STORIES) if launcher == "kubernetes" else 1) as pool:
                logs = list(pool.map(lambda told: execute(instance, *told), STORIES))  # noqa: B023
        told[launcher] = [story(log) for log in logs]
    for (assets, _), here, there in zip(STORIES, told["none"], told["kubernetes"], strict=True):
        assert there == here, (assets, json.dumps([here, there], default=str, indent=1)[:4000])
    world.nothing_left(*(f"asgard-{log[0].run_id[:8]}-" for log in logs))
