"""`asgard plan` lists what is there, estimates from what was measured, and keeps a budget."""

from __future__ import annotations

import json

import pytest

from asgard_assets.errors import ConfigError
from tests.operations.conftest import Project
from tests.patience import patience

DAY, NEXT = "2026-10-30", "2026-10-31"


def test_files_bytes_and_downstream_partitions_are_those_that_are_there(project: Project):
    project.drop(DAY, "a.csv", "id\n1\n")
    project.drop(NEXT, "b.csv", "id\n22\n")
    plan = project.asgard_json("plan", "bronze/orders", "--output", "json")
    [orders] = plan["assets"]
    assert (orders["files"], orders["bytes"], orders["partitions"]) == (2, 11, [DAY, NEXT])
    assert orders["seconds"] is None and orders["rows"] is None  # never measured, so not guessed
    assert plan["downstream"] == {
        "silver/orders": [DAY, NEXT],
        "gold/totals": [DAY, NEXT, "2026-11-01"],
        "features/online": [],
    }


def test_only_the_partitions_asked_for_are_planned(project: Project):
    project.drop(DAY, "a.csv", "id\n1\n")
    project.drop(NEXT, "b.csv", "id\n22\n")
    plan = project.asgard_json("plan", "bronze/orders", "--partitions", NEXT, "--output", "json")
    assert (plan["assets"][0]["files"], plan["assets"][0]["partitions"]) == (1, [NEXT])


def test_time_rows_and_cost_come_from_past_runs_and_the_declared_rates(project: Project, monkeypatch):
    monkeypatch.setenv("COST_PER_DBU_HOUR", "3600")
    project.past_run("2026-10-05", rows=100, size=1000)
    project.past_run("2026-10-06", rows=100, size=1000)
    project.drop(DAY, "a.csv", "id\n" + "1\n" * 998)  # 1999 bytes
    [orders] = project.asgard_json("plan", "bronze/orders", "--output", "json")["assets"]
    assert orders["rows"] == 200
    assert orders["measured_runs"] == 2
    assert 0.4 <= orders["seconds"] < patience(20)
    assert orders["compute_cost"] == pytest.approx(orders["seconds"])


def test_a_broken_budget_is_told_and_fails_by_exit_code(project: Project):
    project.drop(DAY, "a.csv", "id\n1\n")
    assert "OVER BUDGET" not in project.asgard("plan", "bronze/orders", "--max-files", "1")
    text = project.asgard("plan", "bronze/orders", "--max-files", "0", "--max-partitions", "2", code=2)
    assert "OVER BUDGET: files is 1, above the limit of 0" in text
    assert "OVER BUDGET: partitions is 5, above the limit of 2" in text
    unknown = project.asgard("plan", "bronze/orders", "--max-cost", "100", code=2)
    assert "cost is unknown: no past run of it was measured" in unknown


def test_markdown_is_a_table_for_a_pull_request(project: Project):
    project.drop(DAY, "a.csv", "id\n1\n")
    text = project.asgard("plan", "bronze/orders", "--output", "markdown")
    assert text.startswith("## Plan: within budget")
    assert f"| bronze/orders | {DAY} | 1 | 5 B | 0 | ? |" in text
    assert "- downstream gold/totals: 2026-10-30...2026-11-01" in text


def test_nothing_outstanding_costs_nothing(project: Project):
    plan = project.asgard_json("plan", "bronze/orders", "--output", "json", "--max-cost", "0")
    assert plan["totals"]["compute_cost"] == 0 and plan["downstream"] == {}


def test_a_plan_writes_nothing(project: Project, settings):
    project.drop(DAY, "a.csv", "id\n1\n")
    before = sorted(str(p) for p in settings.home.rglob("*") if "dagster" not in p.parts)
    project.asgard("plan", "bronze/orders")
    assert sorted(str(p) for p in settings.home.rglob("*") if "dagster" not in p.parts) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bronze/none"], "selects no asset"),
        (["bronze/orders", "--partitions", "2031-01-01"], "outside the calendar"),
        (["bronze/orders", "--partitions", "soon"], "invalid date 'soon'"),
    ],
)
def test_what_cannot_be_planned_is_a_sentence(project: Project, arguments: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        project.asgard("plan", *arguments)


def test_tables_above_bronze_are_planned_by_their_missing_partitions(project: Project):
    plan = project.asgard_json("plan", 'key:"silver/orders"', "--partitions", DAY, "--output", "json")
    assert plan["assets"][0]["partitions"] == [DAY]
    assert json.dumps(plan["downstream"]["gold/totals"]) == json.dumps([DAY, NEXT, "2026-11-01"])
