"""What a team's own CI does: assets from an empty history, on disk and on S3."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.servers.s3 import s3


@pytest.mark.servers
def test_partitions_are_materialized_from_an_empty_history(tmp_path: Path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_"))}
    homes = {"DAGSTER_HOME": str(tmp_path / "dagster"), "ASGARD_HOME": str(tmp_path / "asgard")}
    script = ["bash", "deployments/local/ci_materialize.sh"]
    done = subprocess.run(script, cwd=ROOT, env=env | homes, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "materialized from an empty history" in done.stdout


def readme_block() -> str:
    """What README says to type in CI."""
    text = (ROOT / "README.md").read_text()
    [block] = re.findall(r"^## In CI\n\n```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return block


@pytest.mark.servers
@pytest.mark.timeout(900)
def test_the_three_forms_of_the_readme_work_on_s3_with_a_full_lake_and_an_empty_history(tmp_path: Path):
    landing = tmp_path / "home" / "landing" / "invoices"
    for number in (5, 6, 7):
        (landing / f"ds=2026-10-0{number}").mkdir(parents=True)
        rows = "invoice_id,user_id,amount,currency,issued_at,due_at,paid\n1,7,9.50,EUR,2026-10-05,2026-11-05,true\n"
        (landing / f"ds=2026-10-0{number}" / "a.csv").write_text(rows)
    with s3(tmp_path / "s3", "bucket") as server:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_"))}
        env = {
            **kept, **server.environment, "ASGARD_HOME": str(tmp_path / "home"), "ASGARD_LAKE": "s3://bucket/lake",
            "ASGARD_PARTITION_START": "2026-10-05", "ASGARD_PARTITION_END": "2026-11-02", "PYTHONPATH": str(ROOT),
        }  # fmt: skip

        def bash(script: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-ec", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False
            )

        filled = bash(". .venv/bin/activate && asgard run invoices --output json")
        assert filled.returncode == 0, filled.stdout[-2000:] + filled.stderr[-3000:]
        forms = bash(readme_block())
        assert forms.returncode == 0, forms.stdout[-2000:] + forms.stderr[-5000:]
        query = "select count(*) as rows from bronze.invoices"
        found = bash(f". .venv/bin/activate && asgard sql '{query}' --output jsonl")
        assert found.stdout.strip() == '{"rows": 3}', found.stderr
        forgotten = re.sub(
            r" --partition 2026-10-05|^.*(--partition-range|platform).*\n", "", readme_block(), flags=re.M
        )
        said = bash(forgotten)
        assert said.returncode != 0 and "no '--partition' option was provided" in said.stdout + said.stderr
