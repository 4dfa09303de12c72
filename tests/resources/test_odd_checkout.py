"""A checkout, home and landing in folders of odd names: stages run there, in the process and by spark-submit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asgard_assets.components.dbt.manifest import prepare
from asgard_assets.lake import Lake
from asgard_assets.resources.home import prepare_home
from asgard_assets.settings import Settings
from asgard_assets.spark.jars import installed
from deployments.images.build import code_files
from tests.checkout import ROOT

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not installed(), reason="the Spark jars are not here; run `make setup`"),
]
DAY = "2026-10-05"


def test_bronze_and_silver_run_by_spark_submit_in_a_checkout_of_an_odd_name(tmp_path: Path) -> None:
    prepare(ROOT / "dbt_project")
    odd = tmp_path / "pfad mit ü #1 100% x"
    checkout, home, landing = odd / "checkout", odd / "home", odd / "landing ü"
    for file in code_files():
        copy = checkout / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    demo = [sys.executable, "-m", "deployments.local.demo.landing", "--days", f"{DAY}..{DAY}"]
    subprocess.run([*demo, "--root", str(landing)], cwd=ROOT, check=True, capture_output=True)
    env = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "ASGARD_HOME": str(home),
        "ASGARD_LANDING": str(landing),
        "ASGARD_LAUNCHER": "spark-submit",
        "DAGSTER_HOME": str(prepare_home(Settings(home=home))),
    }
    for asset in ("bronze/invoices", "silver/invoices"):
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "asgard_assets.definitions",
             "--select", f'key:"{asset}"', "--partition", DAY],
            cwd=checkout, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
    lake = Lake(str(home / "lake"))
    with lake.connect() as connection:
        (found,) = connection.execute("select count(*) from silver.invoices").fetchone() or (0,)
    assert found > 0
    assert sorted(path.name for path in odd.iterdir()) == ["checkout", "home", "landing ü"]
