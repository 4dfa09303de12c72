"""What a team's own CI does: one asset, one partition, an empty history."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from asgard_assets.settings import ROOT


@pytest.mark.servers
def test_partitions_are_materialized_from_an_empty_history(tmp_path: Path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_"))}
    homes = {"DAGSTER_HOME": str(tmp_path / "dagster"), "ASGARD_HOME": str(tmp_path / "asgard")}
    script = ["bash", "deployments/local/ci_materialize.sh"]
    done = subprocess.run(script, cwd=ROOT, env=env | homes, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "materialized from an empty history" in done.stdout
