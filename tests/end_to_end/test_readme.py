"""The README, word for word: every example is put where it says, and materialized."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.end_to_end.homes import Home

DAY = "2026-10-05"
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(?:yaml|python|sql)\n((?:#|--) (\S+)\n.*?)^```$", README, re.MULTILINE | re.DOTALL)


def copy_of_the_repository(target: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def test_the_readme_shows_one_file_for_each_kind_of_addition():
    places = [place for _, place in BLOCKS]
    for start in (
        "asgard_assets/defs/bronze/",
        "asgard_assets/defs/silver/",
        "dbt_project/models/gold/",
        "asgard_assets/defs/features/",
        "asgard_assets/defs/model/",
    ):
        assert any(place.startswith(start) for place in places), start


def test_the_readme_is_at_most_two_screens_before_its_reference():
    before, _, _ = README.partition("## Where things live")
    assert len(before.splitlines()) <= 150


def test_every_link_of_the_readme_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_what_the_readme_adds_is_materialized_with_every_upstream_edge(copy_of_demo: Home, tmp_path: Path):
    repository = copy_of_demo.repository = copy_of_the_repository(tmp_path / "repository")
    for text, place in BLOCKS:
        (repository / place).parent.mkdir(parents=True, exist_ok=True)
        (repository / place).write_text(text)
    landing = copy_of_demo.path / "landing" / "refunds" / f"ds={DAY}"
    landing.mkdir(parents=True)
    (landing / "refunds.csv").write_text("refund_id,user_id,amount\n1,7,9.50\n2,7,1.25\n3,,4.00\n")
    added = [
        "bronze/refunds", "silver/refunds", "gold/refunds_daily", "features/customer_support", "model/customer_segments",
    ]  # fmt: skip
    done = copy_of_demo.materialize(",".join(f'key:"{name}"' for name in added), DAY)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    with copy_of_demo.lake.connect() as connection:

        def ask(sql: str):
            return connection.execute(sql).fetchall()

        assert ask("select refund_id, customer_id, amount::varchar from silver.refunds order by 1") == [
            (1, 7, "9.50"), (2, 7, "1.25"),
        ]  # fmt: skip
        assert ask("select count(*) from rejected.refunds") == [(1,)]
        assert ask("select customer_id, refunds, refunded from gold.refunds_daily") == [(7, 2, 10.75)]
        assert ask("select count(distinct segment) from model.customer_segments") == [(3,)]
