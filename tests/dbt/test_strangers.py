"""A project that uses what dbt offers: the same tables and the same answers of tests as with plain dbt-duckdb."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.dbt.comparing import PROFILES, differences, in_lake
from tests.dbt.stranger import STRANGER
from tests.fakes.dbt_process import write_project

pytestmark = pytest.mark.servers


def turn(number: int) -> tuple[str, str]:
    return "--vars", json.dumps({"turn": number})


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after two builds, which were compared."""
    project = write_project(tmp_path_factory.mktemp("stranger"), STRANGER)
    for number in (1, 2):
        assert differences(project, "build", *turn(number)) == []
    assert len(in_lake(project)) > 40
    return project


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--select", "inc_append", "hooked"),
        ("run-operation", "cleanup", "--args", "{table: inc_merge}"),
        ("run-operation", "note_op", "--args", "{what: noted}"),
        ("test", "--select", "warned", "singular_none_fails", "test_type:unit"),
    ],
    ids=" ".join,
)
def test_each_command_leaves_and_answers_what_plain_dbt_does(stranger: Path, command: tuple[str, ...]):
    assert differences(stranger, *command, *turn(2)) == []


CLONED = {
    "profiles.yml": PROFILES,
    "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: plain\n",
    "models/a.sql": "{{ config(materialized='table') }} select 1 as id",
    "models/v.sql": "select * from {{ ref('a') }}",
    "models/i.sql": "{{ config(materialized='incremental', unique_key='id') }} "
    "select id, {{ var('turn') }} as t from {{ ref('v') }}",
    "models/top.sql": "{{ config(materialized='table') }} select sum(t) as n from {{ ref('i') }} join {{ ref('v') }} using (id)",
}


def test_a_clone_reads_the_other_target_s_tables_and_serves_later_runs(tmp_path: Path):
    project = write_project(tmp_path / "cloned", CLONED)
    assert differences(project, "build", *turn(1)) == []
    for engine in ("plain", "delta"):
        shutil.copytree(project / f"target_{engine}", project / f"state_{engine}")
    assert differences(project, "clone", "--state", "state_ENGINE", "--target", "ci", *turn(1)) == []
    assert differences(project, "run", "--select", "i", "top", "--target", "ci", *turn(2)) == []
    assert in_lake(project)["ci.top"][1] == ["('2',)"] and in_lake(project)["gold.top"][1] == ["('1',)"]
