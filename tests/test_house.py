"""Rules of the house that a machine can keep."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tests.checkout import ROOT

FIXED = (
    "dagster dagster-webserver dagster-k8s dagster-airbyte dagster-dbt dagster-pyspark dagster-aws "
    "delta-spark aiohttp feast mlflow pytest"
).split()
LOCK = (ROOT / "requirements.lock").read_text()


def test_the_lock_file_has_hashes_and_names_no_index():
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", LOCK, re.MULTILINE)
    assert len(pinned) > 200
    assert "://" not in LOCK
    for block in re.split(r"\n(?=[a-z0-9])", LOCK):
        if "==" in block.splitlines()[0]:
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_every_direct_dependency_is_locked_within_its_bounds():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(re.findall(r"^([a-z0-9_.-]+)==([^ \\;]+)", LOCK, re.MULTILINE))
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(locked[name], prereleases=True), requirement


USES = {
    "dagster": ("asgard_assets/definitions.py", "import dagster"),
    "dagster-webserver": ("asgard_assets/cli/main.py", '"workspace.yaml"'),
    "dagster-k8s": ("asgard_assets/resources/production.py", "dagster_k8s"),
    "dagster-airbyte": ("asgard_assets/components/airbyte", "dagster_airbyte"),
    "dagster-dbt": ("asgard_assets/components/dbt", "dagster_dbt"),
    "dagster-pyspark": ("asgard_assets/resources/spark.py", "dagster_pyspark"),
    "dagster-aws": ("asgard_assets/resources/production.py", "dagster_aws"),
    "delta-spark": ("asgard_assets/spark/session.py", "io.delta.sql.DeltaSparkSessionExtension"),
    "aiohttp": ("asgard_assets/ingest/api", "import aiohttp"),
    "feast": ("asgard_assets/ml", "feast"),
    "mlflow": ("asgard_assets/ml", "import mlflow"),
    "pytest": ("tests/conftest.py", "import pytest"),
}


@pytest.mark.parametrize("package", FIXED)
def test_each_named_package_is_really_used(package: str):
    place, text = USES[package]
    path = ROOT / place
    sources = path.rglob("*.py") if path.is_dir() else [path]
    assert any(text in source.read_text() for source in sources), f"{package} is not used in {place}"


EXECUTED = {
    "dagster": "tests/components/test_dg.py::test_a_scaffolded_source_of_files_loads",
    "dagster-webserver": "tests/end_to_end/test_ui.py::test_a_person_sees_the_platform_and_materializes_a_day_by_clicking",
    "dagster-k8s": "tests/resources/test_production.py::test_steps_run_as_pods_of_the_named_image_account_and_secret",
    "dagster-airbyte": "tests/components/airbyte/test_runs.py::test_materializing_one_stream_syncs_the_connection_and_reports_every_stream",
    "dagster-dbt": "tests/dbt/test_gold.py::test_a_range_of_days_is_one_commit_with_every_customer_known_on_each_day",
    "dagster-pyspark": "tests/components/test_silver.py::test_a_range_is_one_run_with_counts_rejects_and_reasons_by_day",
    "dagster-aws": "tests/resources/test_aws_secrets.py::test_an_api_asset_logs_in_with_a_secret_of_aws",
    "delta-spark": "tests/spark/test_java.py::test_spark_runs_on_the_java_of_pypi",
    "aiohttp": "tests/ingest/api/test_pipeline.py::test_a_range_is_one_job_and_every_row_lands_once",
    "feast": "tests/features/test_assets.py::test_features_to_predictions_through_dagster",
    "mlflow": "tests/features/test_assets.py::test_features_to_predictions_through_dagster",
    "pytest": "tests/test_house.py::test_each_named_package_is_executed_by_a_test",
}


@pytest.mark.parametrize("package", FIXED)
def test_each_named_package_is_executed_by_a_test(package: str):
    """By the platform's own path. These tests run in `make test`, or in a part that CI takes in turn."""
    file, _, name = EXECUTED[package].partition("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{EXECUTED[package]} is no test"


SLOW = ("feast", "mlflow", "pyspark", "great_expectations", "kubernetes", "sklearn", "pandas")


def test_loading_the_code_location_imports_no_slow_library():
    code = (
        "import sys; from asgard_assets.definitions import defs; d = defs(); d.resolve_all_asset_specs();"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr


def test_importing_the_definitions_does_not_import_dbt():
    code = "import sys, asgard_assets.definitions; print([n for n in ('dbt', 'dagster_dbt') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_tracked_text_names_a_machine_or_an_index():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    pattern = re.compile(r"(?<![\w.}$])/(?:root|home/[a-z]+|work/[a-z]+)/")
    bad = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".png", ".gz", ".parquet"} or not path.is_file():
            continue
        bad += [
            f"{name}: {line.strip()[:80]}"
            for line in path.read_text(errors="replace").splitlines()
            if pattern.search(line)
        ]
    assert not bad


def test_a_file_that_is_in_no_project_is_run_without_dagster_and_pandas():
    """They are half of such a command's time."""
    modules = (
        "cli.main",
        "cli.act",
        "cli.api_files",
        "operations.targets",
        "ingest.api.pipeline",
        "lake.duck",
    )
    code = "import sys\n" + "".join(f"import asgard_assets.{name}\n" for name in modules)
    code += (
        "import duckdb\nfrom asgard_assets.lake.arrow import without_pandas\nwithout_pandas()\n"
        "asgard_assets.lake.duck.only_reads(duckdb.connect(), 'select 1')\n"
        "print([name for name in ('dagster', 'pandas', 'pyspark') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
