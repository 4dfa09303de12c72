"""External Spark jobs through Dagster Pipes."""

from __future__ import annotations

import dagster as dg
import pytest

from asgard_assets.resources.cluster import kubernetes_launcher
from asgard_assets.resources.pipes import PipesSparkApplicationClient
from asgard_assets.settings import Settings
from tests.cluster.world import World

PROGRAM = "local:///opt/asgard/tests/cluster/piped.py"


@pytest.fixture
def client(world: World, monkeypatch: pytest.MonkeyPatch) -> PipesSparkApplicationClient:
    for name, value in world.home("pipes").environment.items():
        monkeypatch.setenv(name, value)
    return PipesSparkApplicationClient(kubernetes_launcher(Settings()))


def test_a_jobs_reports_arrive_and_a_failed_job_says_why(
    world: World, client: PipesSparkApplicationClient
) -> None:
    @dg.asset
    def counted(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        done = client.run(context=context, main_application_file=PROGRAM, extras={"rows": 12})
        return done.get_materialize_result()  # pyright: ignore[reportReturnType]

    @dg.asset
    def broken(context: dg.AssetExecutionContext) -> None:
        client.run(context=context, main_application_file="local:///opt/asgard/nothing.py")

    result = dg.materialize([counted])
    (made,) = result.asset_materializations_for_node("counted")
    assert made.metadata["rows"].value == 12
    failed = dg.materialize([broken], raise_on_error=False)
    (event,) = [e for e in failed.all_events if e.is_step_failure]
    said = event.step_failure_data.error.message
    assert "did not complete" in said and "To fix:" in said
    assert "nothing.py" in event.step_failure_data.user_failure_data.metadata["last_lines"].value
    world.nothing_left()
