"""Every part of the tests runs in one of three landings, on a slow machine too, and within 90 minutes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.ci.parts import PARTS, Part
from tests.ci.plan import LAST_START, PART_LIMIT, Clock, in_order, is_due, next_part
from tests.ci.run import Report, Session

CHANGES = {
    "nothing": [],
    "the lake": ["asgard_assets/lake/publish.py"],
    "the API engine": ["asgard_assets/ingest/api/worker.py"],
    "pods": ["deployments/cluster/up.sh", "asgard_assets/resources/kubernetes.py"],
    "all": [part.sources[0] + "x" for part in PARTS],
}
# Minutes at a loop of 1.5 s: what `make check`, `make test` and the cluster's build take.
TAKES = {"make check": 3.0, "make test": 20.0}
CLUSTER_BUILT = 45.0
MINUTES = {part.name: part.minutes for part in PARTS}


@dataclass
class Machine:
    """A machine of this loop, on which everything takes its budget."""

    loop: float
    failing: str = ""
    cluster_built: float = CLUSTER_BUILT
    minutes: float = 5.0
    ran: list[str] = field(default_factory=list)

    def run(self, command, limit: float) -> str:
        name = " ".join(command)
        if "PART=" in name:
            name = name.rpartition("PART=")[2]
        elif "--part" in command:
            name = command[command.index("--part") + 1]
        took = {**MINUTES, **TAKES}[name] * self.loop / 1.5
        self.minutes += min(took, limit)
        self.ran.append(name)
        return (
            f"ended after {limit:.0f} min" if took > limit else "exit code 1" if name == self.failing else ""
        )

    def built(self) -> bool:
        return self.minutes >= self.cluster_built * self.loop / 1.5

    def wait(self, minutes: float) -> None:
        built = self.cluster_built * self.loop / 1.5
        self.minutes = max(self.minutes, min(built, self.minutes + minutes))

    def problem(self) -> str:
        return "was not built in time"

    def ci(self, number: int, changed: list[str]) -> Report:
        return Session(self.run, lambda: self.minutes, self.loop, self).all(PARTS, number, changed)


@pytest.mark.parametrize("loop", [0.4, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("first", range(3))
def test_every_part_runs_within_three_landings(loop: float, changed: list[str], first: int):
    ran = set()
    for number in range(first, first + 3):
        machine = Machine(loop)
        report = machine.ci(number, changed)
        assert not report.failed and machine.minutes < 90
        assert {p.name for p in report.left}.isdisjoint(machine.ran)
        ran |= set(machine.ran)
    assert ran == {*MINUTES, *TAKES}


def test_a_fast_machine_runs_everything_at_once():
    machine = Machine(0.4)
    report = machine.ci(1, [])
    assert set(machine.ran) == {*MINUTES, *TAKES} and not report.left


@pytest.mark.parametrize("loop", [3.0, 6.0, 20.0])
def test_no_machine_is_too_slow_to_end_before_90_minutes(loop: float):
    machine = Machine(loop)
    machine.ci(1, CHANGES["all"])
    assert machine.minutes <= LAST_START + PART_LIMIT


def test_what_the_change_touches_runs_before_the_rest():
    order = in_order(PARTS, 1, ["dbt/adapters/delta/impl.py"])
    touched = [part for part in order if "dbt/" in part.sources]
    assert order[: len(touched)] == touched
    assert [is_due(part, 1) for part in touched] == sorted(
        (is_due(part, 1) for part in touched), reverse=True
    )
    rest = [is_due(part, 1) for part in order[len(touched) : -1]]
    assert order[-1] == max((part for part in PARTS if is_due(part, 1)), key=lambda part: part.minutes)
    assert rest == sorted(rest, reverse=True)


def test_a_touched_part_waits_where_it_would_leave_a_due_one_out():
    long = Part("long", 1, 40, (), ("a",))
    due = Part("due", 0, 8, (), ("b",))
    order = in_order([due, long], 0, ["a"])
    assert order == [long, due]
    assert next_part(order, 0, Clock(10, 1.5), cluster=True) == long
    assert next_part(order, 0, Clock(LAST_START - 47, 1.5), cluster=True) == due
    assert next_part(order, 0, Clock(LAST_START, 1.5), cluster=True) is None


@pytest.mark.parametrize("failing", ["make check", "make test", "dbt-models", "cluster-chart"])
def test_a_failure_fails_the_run_and_the_others_run_too(failing: str):
    machine = Machine(0.5, failing)
    report = machine.ci(3, [])
    assert report.failed and set(machine.ran) == {*MINUTES, *TAKES}
    assert [step.name for step in report.steps if step.problem] == [failing]


def test_a_part_that_does_not_end_fails_the_run():
    machine = Machine(5)
    report = machine.ci(1, [])
    assert any("ended after" in step.problem for step in report.steps) and report.failed


def test_a_cluster_that_is_not_built_fails_the_run_where_its_parts_are_due():
    report = Machine(0.5, cluster_built=1e6).ci(0, [])
    assert report.failed and report.steps[-1].problem == "was not built in time"
    assert {part.name for part in report.left} == {part.name for part in PARTS if part.cluster}


def test_what_was_left_out_is_said():
    report = Machine(1.5).ci(0, [])
    assert report.left
    said = "\n".join(report.lines(1.5))
    assert "left out" in said and all(part.name in said for part in report.left)
