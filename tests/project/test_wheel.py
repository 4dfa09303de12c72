"""The wheel in an empty environment, with no checkout: five commands to a project of one's own that runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.patience import patience

DEMO = re.compile(rb"churn|customer|ticket", re.IGNORECASE)
# pydantic_core's own name for an error, and fields of APIs that say whose a list is; there are no others.
FOREIGN = rb"PydanticCustomError|organisation customer tenant"
DAYS = "2026-01-05...2026-01-07"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = target.glob("*.whl")
    return found


@dataclass(frozen=True)
class Newcomer:
    """Somebody with an environment of their own, in a folder of their own."""

    bin: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_", "PYTHON"))}
        return kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.bin.parent),
            "DAGSTER_HOME": str(self.folder / ".asgard" / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }

    def run(self, *command: str, at: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=at or self.folder, env=self.env, text=True, check=False,
            capture_output=True, timeout=patience(900),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """After `pip install`, `asgard init shop`, `cd shop`. The packages are those of the lock file."""
    folder = tmp_path_factory.mktemp("newcomer")
    pins = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?(==[^\\\n]+)",
        (ROOT / "requirements.lock").read_text(),
        re.MULTILINE,
    )
    (folder / "pins.txt").write_text("\n".join(name + version.strip() for name, version in pins))
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder / "venv")], check=True)
    subprocess.run(
        [*uv, "pip", "install", "-q", "--python", str(folder / "venv/bin/python"), str(wheel), "pytest",
         "-c", str(folder / "pins.txt")],
        check=True,
    )  # fmt: skip
    made = Newcomer(folder / "venv" / "bin", folder / "shop")
    made.run("asgard", "init", "shop", at=folder)
    (folder / "shop" / ".asgard" / "dagster").mkdir(parents=True)
    return made


@pytest.mark.servers
def test_the_wheel_holds_the_platform_and_nothing_of_the_demo(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        told = {name for name in names if DEMO.search(re.sub(FOREIGN, b"", archive.read(name)))}
    assert {
        "asgard_assets/project.py",
        "dbt/adapters/delta/impl.py",
        "asgard_assets/spark/log_store/log-store.jar",
    } <= set(names)
    assert [
        name for name in names if name.startswith(("asgard_assets/defs/", "asgard_assets/demo/", "tests/"))
    ] == []
    assert told == set()


@pytest.mark.servers
def test_dagsters_own_tool_comes_along_and_writes_a_source_that_loads(newcomer: Newcomer):
    kind = "asgard_assets.components.files.FileIngest"
    assert kind in newcomer.run("dg", "list", "components")
    newcomer.run("dg", "scaffold", "defs", kind, "bronze/refunds", "--path", "refunds")
    newcomer.run("dg", "check", "yaml", "shop/defs/bronze/refunds")
    assert '"refunds"' in newcomer.run("asgard", "sources", "--output", "json")
    shutil.rmtree(newcomer.folder / "shop" / "defs" / "bronze" / "refunds")


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_a_new_project_runs_its_tests_and_every_stage(newcomer: Newcomer):
    newcomer.run("make", "test")
    newcomer.run(
        "dagster", "asset", "materialize", "-m", "shop.definitions",
        "--select", 'key:"bronze/orders"+', "--partition-range", DAYS,
    )  # fmt: skip
    rows = newcomer.run(
        "asgard", "sql", "--output", "jsonl",
        "select ds, count(*) as products, sum(units) as units from gold.product_sales group by ds order by ds",
    )  # fmt: skip
    assert [json.loads(line) for line in rows.splitlines()] == sold(newcomer.folder / "landing" / "orders")
    rejected = newcomer.run("asgard", "sql", "--output", "jsonl", "select ds from rejected.orders")
    assert [json.loads(line) for line in rejected.splitlines()] == [{"ds": "2026-01-07"}]
    assert (
        newcomer.run("asgard", "sql", "--output", "jsonl", "select * from model.demand_forecast").count("\n")
        > 10
    )


def sold(landing: Path) -> list[dict[str, object]]:
    """What Gold says of the three days, counted from the example's files."""
    found, pieces = [], dict[str, int]()
    for day in ("2026-01-05", "2026-01-06", "2026-01-07"):
        lines = [line.split(",") for line in (landing / f"{day}.csv").read_text().splitlines()[1:]]
        good = [line for line in lines if int(line[2]) > 0]
        pieces |= dict.fromkeys({line[1] for line in good}, 0)
        found.append({"ds": day, "products": len(pieces), "units": sum(int(line[2]) for line in good)})
    return found
