"""External Spark jobs through Dagster Pipes."""

import dagster as dg
import pytest

from asgard_assets.resources.cluster import kubernetes_launcher
from asgard_assets.resources.pipes import PipesSparkApplicationClient
from asgard_assets.settings import Settings
from tests.cluster.world import World

PROGRAM = "local:///opt/asgard/tests/cluster/piped.py"


def test_a_jobs_reports_arrive_and_a_failed_job_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = world.home("pipes")
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    client = PipesSparkApplicationClient(kubernetes_launcher(Settings()))

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
    world.nothing_left(*(f"asgard-{one.run_id[:8]}-" for one in (result, failed)))
    assert not home.exchange()
