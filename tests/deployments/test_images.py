"""Both images hold what a pod runs: packages of the lock file, the project's files, the adapter of its dbt profile."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asgard_assets.components.dbt.manifest import prepare
from asgard_assets.project import code_digest, current
from deployments.images.build import CODE, code_files
from tests.checkout import ROOT

IMAGES = ROOT / "deployments" / "images"


def pins(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ \\;]+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_images_packages_are_pinned_as_the_platforms_are() -> None:
    whole, part = pins((ROOT / "requirements.lock").read_text()), pins((IMAGES / "spark.lock").read_text())
    assert part
    for name, versions in part.items():
        assert versions <= whole[name], name
    assert not {"feast", "mlflow", "scikit-learn", "matplotlib"} & set(part)


def test_what_engines_import_is_in_the_image() -> None:
    """Workers import inside functions, so that loading the code location alone would not show a gap."""
    part = pins((IMAGES / "spark.lock").read_text())
    packaged = ("components", "ingest", "lake", "quality", "resources", "spark", "transforms")
    folders = [ROOT / "asgard_assets" / name for name in packaged] + [ROOT / "dbt"]
    # Features, models and loads of databases: the platform's own steps, which need no Spark.
    assert not not_in(part, folders, {"feast", "mlflow", "psycopg2", "pymysql"})


def test_what_the_project_imports_is_in_the_platforms_image() -> None:
    whole = pins((ROOT / "requirements.lock").read_text())
    assert not not_in(whole, [ROOT / name for name in ("asgard_assets", "dbt", "feature_repo")])


def not_in(
    lock: dict[str, set[str]], folders: list[Path], known_elsewhere: set[str] | None = None
) -> list[tuple[str, str]]:
    """What the code in these folders imports and the lock file has not: (module, file)."""
    packages = importlib.metadata.packages_distributions()
    wanted = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            wanted |= {(name.split(".")[0], file.name) for name in names}
    own = sys.stdlib_module_names | {"asgard_assets", "deployments"} | (known_elsewhere or set())
    return [
        (name, file)
        for name, file in sorted(wanted)
        if name not in own
        and not {d.lower().replace("_", "-") for d in packages.get(name, [name])} & set(lock)
    ]


LOADED = """
from asgard_assets.resources.steps import fingerprint
print(fingerprint())
import importlib, os, sys
import asgard_assets.definitions as project
assert project.defs().resolve_all_asset_specs()
adapter = importlib.import_module(f"dbt.adapters.{sys.argv[2]}")
own = [m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("asgard_assets", "deployments")]
elsewhere = [file for file in [*own, adapter.__file__] if file and not file.startswith(sys.argv[1])]
assert not elsewhere, elsewhere
assert importlib.util.find_spec("dbt.include." + sys.argv[2]), "the adapter's macros"
from asgard_assets.resources import home
from asgard_assets import project as found
for path in (home.SHIPPED, found.current().features, found.current().defs):
    assert path.exists() and str(path).startswith(sys.argv[1]), path
"""


@pytest.mark.slow
def test_the_images_files_alone_load_the_project_and_the_adapter_of_its_dbt_profile(tmp_path: Path) -> None:
    """In production, where nothing is prepared any more; from the image's files, not from this checkout."""
    prepare(ROOT / "dbt_project")
    for file in code_files():
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    profile = yaml.safe_load((tmp_path / "dbt_project" / "profiles.yml").read_text())["gold"]
    kind = profile["outputs"][profile["target"]]["type"]
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        # Without `site`, which would add this checkout as an installed project.
        [sys.executable, "-S", "-c", LOADED, str(tmp_path), kind],
        env={
            "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join([str(tmp_path), *libraries]),
            "ASGARD_ENV": "production", "ASGARD_LAKE": "s3://lake/asgard", "ASGARD_PARTITION_START": "2026-10-05",
            "ASGARD_HOME": str(tmp_path / "home"),
            "PIPELINE_NAMESPACE": "pipelines", "SPARK_IMAGE": "spark", "SPARK_SERVICE_ACCOUNT": "spark", "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] == code_digest(current()), "host and driver must run the same code"


def test_docker_copies_what_the_other_builder_packs() -> None:
    text = (IMAGES / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for target in ("spark", "platform"):
        stage = text.split(f"AS {target}\n")[1].split("\nFROM ")[0]
        for name in CODE:
            assert re.search(rf"^COPY {re.escape(name)} /opt/asgard/", stage, re.MULTILINE), (target, name)
            assert f"!{name}" in ignored, name
        assert "asgard_assets.components.dbt /opt/asgard/dbt_project" in stage
    spark = text.split("AS spark\n")[1].split("\nFROM ")[0]
    assert "COPY --from=build /opt/cache /opt/cache" in spark, "jars and the log store"
    assert {"duckdb-extension-delta", "duckdb-extension-httpfs", "dbt-duckdb"} <= set(
        pins((IMAGES / "spark.lock").read_text())
    )


def test_dockerfile_pins_its_base_and_runs_as_nobody_special() -> None:
    text = (IMAGES / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    outside = [base for base in bases if base not in ("base", "build")]
    assert outside and all(re.search(r":\d+\.\d+.*@sha256:[0-9a-f]{64}$", base) for base in outside)
    for target in ("spark", "platform"):
        stage = text.split(f"AS {target}\n")[1].split("\nFROM ")[0]
        assert re.findall(r"^USER (\d+)", stage, re.MULTILINE)[-1] != "0"
    assert "--require-hashes" in text


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", "deployments/project/.github/workflows/ci.yml"])
def test_a_workflow_may_only_read_and_its_actions_are_those_of_one_commit(file: str) -> None:
    said = yaml.safe_load((ROOT / file).read_text())
    assert said["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in said["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used)
