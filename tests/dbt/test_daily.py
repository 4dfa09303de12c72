"""What analytics engineers do with dbt each day, on a lake as on any warehouse."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from tests.fakes.dbt_process import PROFILE, dbt, write_project

pytestmark = pytest.mark.servers


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def rows(lake: Lake, query: str) -> list[tuple[object, ...]]:
    with lake.connect() as connection:
        return connection.execute(query).fetchall()


def test_a_retry_reads_what_the_run_before_it_published(lake: Lake, tmp_path: Path):
    files = {
        "models/a.sql": "select 1 as id",
        "models/b.sql": "select nothing as id from {{ ref('a') }}",
        "models/c.sql": "select id from {{ ref('b') }}",
    }
    project = write_project(tmp_path / "shop", files)
    (project / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0'\nprofile: shop\nmodels: {+materialized: table}\n"
    )
    assert not dbt(lake, project, "build")[0]
    (project / "models" / "b.sql").write_text("select id from {{ ref('a') }}")
    ok, output = dbt(lake, project, "retry")
    assert ok, output
    assert rows(lake, "select * from gold.c") == [(1,)]


def test_a_change_is_built_beside_what_it_does_not_change(lake: Lake, tmp_path: Path):
    files = {
        "models/a.sql": "select 1 as id",
        "models/v.sql": "{{ config(materialized='view') }} select id from {{ ref('a') }}",
        "models/b.sql": "select id, 1 as n from {{ ref('v') }}",
        "models/c.sql": "select id, n from {{ ref('b') }}",
    }
    project = write_project(tmp_path / "shop", files)
    (project / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0'\nprofile: shop\nmodels: {+materialized: table}\n"
    )
    ci = "    ci: {type: delta, schema: ci, threads: 4}\n"
    (project / "profiles.yml").write_text(PROFILE.format(name="shop", schema="gold").lstrip("\n") + ci)
    ok, output = dbt(lake, project, "build")
    assert ok, output
    shutil.copytree(project / "target", project / "state")
    (project / "models" / "b.sql").write_text("select id, 2 as n from {{ ref('v') }}")
    slim = ("build", "--select", "state:modified+", "--defer", "--state", "state", "--target", "ci")
    ok, output = dbt(lake, project, *slim)
    assert ok, output
    assert rows(lake, "select * from ci.c") == [(1, 2)] and rows(lake, "select * from gold.c") == [(1, 1)]
    assert lake.version("ci", "a") == -1 and lake.version("ci", "v") == -1
    # What is there in the target itself goes before what is deferred to.
    (project / "models" / "a.sql").write_text("select 7 as id")
    assert dbt(lake, project, "build", "--select", "a v", "--target", "ci")[0]
    ok, output = dbt(
        lake, project, "build", "--select", "b c", "--defer", "--state", "state", "--target", "ci"
    )
    assert ok, output
    assert rows(lake, "select * from ci.c") == [(7, 2)]


def test_a_hook_s_rows_are_kept_whatever_is_selected(lake: Lake, tmp_path: Path):
    log = (
        "{{ config(materialized='incremental') }} select 'begin' as what where false "
        "{% if is_incremental() %} union all select what from {{ this }} where false {% endif %}"
    )
    files = {
        "models/audit_log.sql": log,
        "models/m.sql": "{{ config(materialized='table') }} select 1 as id",
        "macros/audit.sql": "{% macro audit() %} insert into {{ target.schema }}.audit_log values ('{{ invocation_id }}') {% endmacro %}",
    }
    project = write_project(tmp_path / "shop", files)
    (project / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0'\nprofile: shop\non-run-end: '{{ audit() }}'\n"
    )
    ok, output = dbt(lake, project, "build")
    assert ok, output
    for count in (2, 3):
        ok, output = dbt(lake, project, "run", "--select", "m")
        assert ok, output
        assert rows(lake, "select count(*), count(distinct what) from gold.audit_log") == [(count, count)]


def test_runs_that_write_into_one_log_at_the_same_time_keep_the_rows_of_both(lake: Lake, tmp_path: Path):
    """Another run adds its row just before this one publishes."""
    files = {
        "models/log.sql": "{{ config(materialized='incremental') }} select 'first' as what, timestamp '2026-01-01' as at_",
        "models/m.sql": "{{ config(materialized='table', post_hook=\"insert into {{ target.schema }}.log "
        "values ('{{ var('who') }}', now())\") }} select 1 as id",
    }
    project = write_project(tmp_path / "shop", files)
    assert dbt(lake, project, "build", "--select", "log", who="one")[0]
    hold = Lake.publish
    raced = list[str]()

    def publish(self: Lake, staging: Any, *args: Any, **options: Any) -> Any:
        if staging.table == "gold/log" and not raced:
            raced.append("once")
            add_row(self, "meanwhile")
        return hold(self, staging, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "publish", publish)
        ok, output = dbt(lake, project, "run", "--select", "m", who="slow")
    assert ok, output
    assert rows(lake, "select what from gold.log order by 1") == [
        ("first",),
        ("meanwhile",),
        ("slow",),
    ]


def add_row(lake: Lake, what: str) -> None:
    """What another run does: the rows that are there and one more, in one commit."""
    table = lake.table("gold", "log")
    assert table is not None
    there = table.to_pyarrow_table()
    staging = lake.stage("gold", "log", there.schema)
    lake.write(staging, pa.concat_tables([there, pa.table({"what": [what], "at_": [None]}, there.schema)]))
    lake.publish(staging)


def test_a_model_that_fails_takes_nothing_healthy_with_it(lake: Lake, tmp_path: Path):
    relation = "{relationships: {arguments: {to: ref('stg'), field: id}}}"
    files = {
        "models/stg.sql": "{{ config(materialized='view') }} select 1 as id",
        "models/base.sql": "{{ config(materialized='table') }} select 1 as id",
        "models/mart.sql": "{{ config(materialized='table') }} select nonsense as id from {{ ref('stg') }}",
        "models/other.sql": "{{ config(materialized='table') }} select * from {{ ref('stg') }}",
        "models/m.yml": f"models: [{{name: mart, columns: [{{name: id, data_tests: [{relation}]}}]}}, "
        "{name: base, columns: [{name: id, data_tests: [unique, {relationships: {arguments: {to: ref('mart'), field: id}}}]}]}]",
    }
    project = write_project(tmp_path / "shop", files)
    ok, output = dbt(lake, project, "build")
    assert not ok and "NOT published gold/mart: the model failed" in output
    assert rows(lake, "select * from gold.other") == rows(lake, "select * from gold.base") == [(1,)]


def test_a_test_that_was_not_run_for_its_own_table_s_sake_still_blocks(lake: Lake, tmp_path: Path):
    files = {
        "models/a.sql": "{{ config(materialized='table') }} select 1 as id",
        "models/m.yml": "models: [{name: a, columns: [{name: id, data_tests: [{accepted_values: {arguments: {values: [2]}}}]}]}]",
    }
    project = write_project(tmp_path / "shop", files)
    ok, output = dbt(lake, project, "build")
    assert not ok and "NOT published gold/a: a blocking test failed" in output
    assert lake.version("gold", "a") == -1


def test_a_test_that_only_warns_never_holds_a_table_back(lake: Lake, tmp_path: Path):
    files = {
        "models/a.sql": "{{ config(materialized='table') }} select 1 as id",
        "tests/odd.sql": "{{ config(severity='warn') }} select nonsense from {{ ref('a') }}",
    }
    project = write_project(tmp_path / "shop", files)
    ok, output = dbt(lake, project, "build")
    assert not ok, output  # dbt itself counts a test that cannot run as an error
    assert rows(lake, "select * from gold.a") == [(1,)]
