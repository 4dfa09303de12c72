"""A dbt project of 1,000 models and 1,000 tests: CPU seconds to load it, and to run one model.

    python -m tests.benchmarks.dbt_thousand [models]

`load` builds Dagster's definitions from a manifest that is there; `dagster-dbt` is its own component on the same
manifest. `one` runs one model, `plain` and `delta`, with dbt's partial parse of the project.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.dbt.comparing import PROFILES
from tests.fakes.dbt_process import write_project


def project(folder: Path, models: int) -> Path:
    """Each model reads the one ten before it; each has a test."""
    files = {"profiles.yml": PROFILES, "dbt_project.yml": "name: big\nversion: '1.0'\nprofile: delta\n"}
    tests = []
    for number in range(models):
        parent = f"{{{{ ref('m{number - 10}') }}}}" if number >= 10 else "range(3) as t(id)"
        files[f"models/m{number}.sql"] = f"{{{{ config(materialized='table') }}}} select id from {parent}"
        tests.append(f"- {{name: m{number}, columns: [{{name: id, data_tests: [not_null]}}]}}")
    files["models/m.yml"] = "models:\n" + "\n".join(tests) + "\n"
    return write_project(folder, files)


def load(kind: str, folder: Path) -> None:
    import dagster as dg
    from dagster_dbt import DbtProject, DbtProjectComponent
    from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

    from asgard_assets.components.dbt import DbtModels

    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    context = dg.ComponentTree.for_test().load_context
    before = resource.getrusage(resource.RUSAGE_SELF)
    if kind == "load":
        component = DbtModels(project=DbtProject(folder), translation_settings=settings)
        loaded = component.build_defs(context)
    else:
        component = DbtProjectComponent(project=DbtProject(folder), translation_settings=settings)
        loaded = component.build_defs_from_state(context, folder / "target" / "manifest.json")
    loaded.resolve_asset_graph() if kind != "load" else dg.Definitions.merge(
        loaded, lake()
    ).resolve_asset_graph()
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.2f}")


def lake() -> object:
    import dagster as dg

    from asgard_assets.resources.lake import LakeResource

    return dg.Definitions(resources={"lake": LakeResource(root="unused")})


def cpu(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(models: int = 1000) -> None:
    from asgard_assets.components.dbt.manifest import executable, prepare

    with tempfile.TemporaryDirectory() as scratch:
        folder = project(Path(scratch) / "big", models)
        prepare(folder)
        found: dict[str, list[float]] = {"load": [], "dagster-dbt": []}
        for kind in ("load", "dagster-dbt") * 2:
            command = [sys.executable, "-m", "tests.benchmarks.dbt_thousand", kind, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[kind].append(float(done.stdout))
        for kind, figures in found.items():
            print(f"{kind:12} {min(figures):6.2f} CPU s", flush=True)
        for profile in ("plain", "delta"):
            shutil.rmtree(folder / "target")
            dbt = [executable(), "--no-version-check", "--no-send-anonymous-usage-stats"]
            chosen = ["--select", "m0", "--profile", profile, "--project-dir", ".", "--profiles-dir", "."]
            cpu([*dbt, "run", *chosen], folder)
            print(f"one {profile:8} {cpu([*dbt, 'run', *chosen], folder):6.2f} CPU s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("load", "dagster-dbt"):
        load(sys.argv[1], Path(sys.argv[2]))
    else:
        main(*(int(number) for number in sys.argv[1:]))
