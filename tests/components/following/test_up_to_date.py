"""Dagster's UI says of each table what `asgard state` says, and is told no more often than something changes."""

from __future__ import annotations

import dagster as dg
import pytest

from asgard_assets.components.following.up_to_date import SETTLED_SECONDS, UP_TO_DATE, with_up_to_date
from asgard_assets.lake import Lake
from tests.components.following.test_sensor import BRONZE, DAYS, SILVER, Daemon, rows

CHECK = dg.AssetCheckKey(SILVER, UP_TO_DATE)


class Checked(Daemon):
    """The same, with the check."""

    def __init__(self, lake: Lake, instance: dg.DagsterInstance) -> None:
        super().__init__(lake, instance)
        self.defs = with_up_to_date(self.defs)
        self.repository = self.defs.get_repository_def()

    def told(self) -> list[dg.AssetCheckEvaluation]:
        """What a tick tells Dagster."""
        self.now += SETTLED_SECONDS
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        events = [each for each in found.asset_events if isinstance(each, dg.AssetCheckEvaluation)]
        assert all(each.asset_check_key == CHECK for each in events)
        return events


@pytest.fixture
def daemon(lake: Lake):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Checked(lake, instance)


def test_each_table_that_follows_has_the_check_and_no_other(daemon: Checked):
    assert set(daemon.repository.asset_graph.asset_check_keys) == {CHECK}
    alone = dg.Definitions(assets=[dg.AssetSpec(BRONZE)])
    assert with_up_to_date(alone) is alone


def test_what_is_stale_is_told_with_its_cause_and_once(daemon: Checked):
    rows(daemon.lake, BRONZE, DAYS[:2])
    daemon.tick()
    [event] = daemon.told()
    assert (event.passed, event.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert event.metadata["missing"].value == 2
    assert daemon.told() == [] == daemon.told()
    daemon.now += 7 * 3600
    asked = daemon.tick()
    assert daemon.run(asked[0])
    daemon.told()
    [event] = daemon.told() or daemon.told()
    assert event.passed and "stale" not in str(event.metadata["state"].value)
    rows(daemon.lake, BRONZE, DAYS[:1], value=1)
    daemon.told()
    [event] = daemon.told()
    assert not event.passed and f"stale       {DAYS[0]}: bronze/x {DAYS[0]} changed" in str(
        event.metadata["state"].value
    )


def test_what_is_mended_within_minutes_is_not_told(daemon: Checked):
    rows(daemon.lake, BRONZE, DAYS[:1])
    assert daemon.run(daemon.tick()[0])
    daemon.told()
    assert [event.passed for event in daemon.told()] == [True]
    rows(daemon.lake, BRONZE, DAYS[:1], value=1)
    [asked] = daemon.tick()
    assert daemon.run(asked)
    assert daemon.told() == [] == daemon.told()


def test_a_run_that_is_asked_for_leaves_the_check_to_the_sensor(daemon: Checked):
    rows(daemon.lake, BRONZE, DAYS[:1])
    [asked] = daemon.tick()
    assert asked.asset_check_keys == []


def test_a_person_can_run_it(daemon: Checked):
    rows(daemon.lake, BRONZE, DAYS[:1])
    job = daemon.repository.get_implicit_global_asset_job_def()
    done = job.get_subset(asset_selection=set(), asset_check_selection={CHECK}).execute_in_process(
        instance=daemon.instance
    )
    [evaluation] = done.get_asset_check_evaluations()
    assert not evaluation.passed and evaluation.metadata["missing"].value == 1
