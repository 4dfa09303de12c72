"""Runs that people cancel, start again or split, and several histories on one lake: what is published, stale, asked for next."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Callable, Iterator

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.following.outlook import Outlook, outlooks
from asgard_assets.components.following.sensor import following
from asgard_assets.components.partitions import daily
from asgard_assets.components.python import table
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import publish_id
from asgard_assets.quality.tables import Check
from asgard_assets.resources.environment import resources
from tests.components.following.test_sensor import BRONZE, DAYS, FIRST, LAST, NOON, SCHEMA, days_of, rows
from tests.fakes.receiver import Receiver, receiving

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Status = dg.DagsterRunStatus


class Project:
    """A project with one table, and one of its histories."""

    def __init__(
        self, lake: Lake, instance: dg.DagsterInstance, name: str = "x", cursor: str | None = None
    ) -> None:
        self.lake, self.instance, self.name, self.cursor, self.now = lake, instance, name, cursor, NOON
        self.bad: set[str] = set()
        self.during: Callable[[], None] = lambda: None
        self.key = dg.AssetKey(["silver", name])

        @table(
            f"silver/{name}", deps=["bronze/x"], key=["id"], columns={"id": "bigint"}, description="Rows.",
            checks=[Check(name="good", sql="id >= 0")], owners=[f"team:{name}"],
        )  # fmt: skip
        def made(lake: Lake, days: list[str]) -> pa.Table:
            self.during()
            return pa.table([[-1 if day in self.bad else 1 for day in days], days], schema=SCHEMA)

        self.sensor = following(pace_seconds=0, clock=lambda: self.now)
        bronze = dg.AssetSpec(BRONZE, partitions_def=daily())
        self.defs = dg.Definitions(assets=[bronze, made], sensors=[self.sensor], resources=resources())
        self.repository = self.defs.get_repository_def()

    def tick(self) -> list[dg.RunRequest]:
        self.now += 7 * 3600
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return list(found.run_requests or [])

    def asked(self) -> list[tuple[str, str]]:
        return days_of(self.tick())

    def run(self, first: str, last: str = "", **tags: str) -> bool:
        said = {FIRST: first, LAST: last} if last else {"dagster/partition": first}
        job = self.repository.get_implicit_global_asset_job_def().get_subset(asset_selection={self.key})
        return job.execute_in_process(
            instance=self.instance, tags=said | tags, raise_on_error=False, run_config=QUIET
        ).success

    def begun(self, day: str, **tags: str) -> dg.DagsterRun:
        return self.instance.create_run_for_job(
            self.repository.get_implicit_global_asset_job_def(),
            asset_selection=frozenset({self.key}),
            tags={"dagster/partition": day, **tags},
            status=Status.STARTED,
        )

    def published(self) -> list[str]:
        numbers = self.lake.snapshot("silver", self.name).numbers
        return [day for day in DAYS if numbers.get(publish_id(day))]

    def outlook(self) -> Outlook:
        [found] = outlooks(self.lake, self.repository, self.instance, [self.key], now=self.now)
        return found


@pytest.fixture
def project(lake: Lake) -> Iterator[Project]:
    rows(lake, BRONZE, DAYS[:4])
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(lake, instance)


def test_a_run_that_is_cancelled_holds_its_day_until_somebody_runs_it(project: Project):
    project.instance.report_run_canceled(project.begun(DAYS[3]))
    assert project.asked() == [(DAYS[0], DAYS[2])]
    assert project.published() == [] and project.outlook().held == (DAYS[3],)
    assert project.run(DAYS[0], DAYS[2]) and project.asked() == []
    assert project.run(DAYS[3])
    assert project.published() == DAYS[:4] and project.outlook().held == () and project.asked() == []


def test_a_failed_run_that_is_executed_again_is_not_asked_for_meanwhile_nor_afterwards(project: Project):
    project.bad = {DAYS[0]}
    assert not project.run(DAYS[0])
    again = project.begun(DAYS[0], **{"dagster/parent_run_id": "1", "dagster/root_run_id": "1"})
    assert project.asked() == [(DAYS[1], DAYS[3])] and project.published() == []
    project.instance.report_run_failed(again)
    project.bad = set()
    assert project.run(DAYS[0], **{"dagster/parent_run_id": again.run_id})
    assert project.published() == DAYS[:1] and project.asked() == [(DAYS[1], DAYS[3])]


def test_of_a_cancelled_backfill_what_ran_stays_what_was_cancelled_waits_and_the_rest_is_asked_for(
    project: Project,
):
    backfill = {"dagster/backfill": "abcdefgh"}
    assert project.run(DAYS[0], **backfill)
    project.instance.report_run_canceled(project.begun(DAYS[1], **backfill))
    assert project.published() == DAYS[:1]
    assert project.asked() == [(DAYS[2], DAYS[3])], "its runs that never began are nobody's decision"
    assert project.outlook().held == (DAYS[1],)
    rows(project.lake, BRONZE, DAYS[1:2], value=1)
    assert (DAYS[1], DAYS[1]) in project.asked() or project.outlook().held == ()


def test_of_a_range_of_which_one_day_fails_the_others_are_published_and_only_that_day_is_asked_for(
    project: Project,
):
    project.bad = {DAYS[1]}
    assert not project.run(DAYS[0], DAYS[3])
    assert project.published() == [DAYS[0], DAYS[2], DAYS[3]]
    assert project.outlook().state.missing == (DAYS[1],)
    assert project.asked() == [(DAYS[1], DAYS[1])]
    assert not project.run(DAYS[1])
    assert project.asked() == [(DAYS[1], DAYS[1])], "again, after a pause"
    project.bad = set()
    assert project.run(DAYS[1]) and project.asked() == [] and project.published() == DAYS[:4]


def test_what_a_second_home_built_is_not_asked_for_and_what_both_build_is_published_once(project: Project):
    with dg.DagsterInstance.ephemeral() as instance:
        other = Project(project.lake, instance)
        assert other.asked() == project.asked() == [(DAYS[0], DAYS[3])]
        assert other.run(DAYS[0], DAYS[2])
        project.during = lambda: assert_true(other.run(DAYS[3]))
        assert not project.run(DAYS[3]), "the other was first"
    assert project.published() == DAYS[:4]
    assert project.asked() == [] and project.outlook().state.current == tuple(DAYS[:4])
    numbers = project.lake.snapshot("silver", "x").numbers
    assert numbers[publish_id(DAYS[3])] == 1


def assert_true(told: bool) -> None:
    assert told


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_two_projects_on_one_lake_ask_and_tell_each_for_its_own_tables(
    project: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_ALERT_WEBHOOK", receiver.url)
    other = Project(project.lake, project.instance, "y")
    assert {key for request in project.tick() for key in request.asset_selection or ()} == {project.key}
    assert {key for request in other.tick() for key in request.asset_selection or ()} == {other.key}
    assert project.run(DAYS[0], DAYS[3]) and project.asked() == []
    assert other.published() == [] and other.asked() == [(DAYS[0], DAYS[3])]
    for _ in range(8):
        other.tick()
        project.tick()
    [(_, body)] = receiver.posted
    assert body["owners"] == ["team:y"] and "silver/y" in body["text"]
