"""Gold tables that were made through the API: each is one dbt model, in a dbt project of its own for the run."""

# No `from __future__ import annotations`: Dagster wants the types of `context` and `config`, not their names.
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.platform.contracts import Which, deps_of, op_name, shown, spec_of
from asgard_assets.components.tables import asset_spec
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import KEY_IS_UNIQUE
from asgard_assets.transforms.managed import Revision, Transform, load

_REPORT = "target/delta_publish.json"
_PROFILE = """managed:
  target: lake
  outputs:
    lake:
      type: delta
      lake: {lake}
      schema: {stage}
      threads: 1
      config_options: {{autoinstall_known_extensions: "false", autoload_known_extensions: "false", memory_limit: 1GB}}
"""
_PROJECT = """name: managed
version: "1.0.0"
profile: managed
model-paths: [models]
test-paths: [tests]
flags: {send_anonymous_usage_stats: false, version_check: false}
models: {+materialized: delta}
"""


def model_asset(revision: Revision) -> dg.AssetsDefinition:
    """The asset of one table: its model is written, built and tested by dbt, and published if its tests pass."""
    known = revision.transform
    spec = asset_spec(spec_of(known), deps=deps_of(known), extra_metadata=shown(revision))
    check = dg.AssetCheckSpec(
        KEY_IS_UNIQUE, asset=spec.key, description=f"({', '.join(known.key)}) is unique and never null."
    )

    @dg.multi_asset(
        name=op_name(known),
        specs=[spec],
        check_specs=[check] if known.key else [],
        required_resource_keys={"lake"},
    )
    def build(
        context: dg.AssetExecutionContext, config: Which
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        with clear_failures():
            transform = load(context.resources.lake.lake, known.name, config.revision).transform
            told = run_model(context.resources.lake.lake, transform)
            if transform.key and known.key:
                yield dg.AssetCheckResult(passed=told["passed"], asset_key=spec.key, check_name=KEY_IS_UNIQUE)
            if not told["passed"]:
                raise dg.Failure(f"{transform.table}: {told['reason']}", allow_retries=False)
            yield dg.MaterializeResult(asset_key=spec.key, metadata=told["metadata"])

    return build


def run_model(lake: Lake, transform: Transform) -> dict[str, Any]:
    """Build and test the model; says whether it was published, and why not."""
    with tempfile.TemporaryDirectory(prefix="asgard-model-") as name:
        folder = Path(name)
        for path, text in project_files(lake, transform).items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "build", "--project-dir", name]
        done = subprocess.run(
            [*command, "--profiles-dir", name],
            cwd=folder, env=os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        report = json.loads((folder / _REPORT).read_text()) if (folder / _REPORT).is_file() else {}
    published = next(iter(report.get("published", {}).values()), None)
    refused = next(iter(report.get("unpublished", {}).values()), {})
    reason = refused.get("reason") or _last_words(done.stdout)
    tests = f" ({', '.join(map(str, refused['tests']))})" if refused.get("tests") else ""
    metadata = {} if published is None else {
        "dagster/row_count": sum((published.get("rows") or {}).values()),
        "version": published["version"],
    }  # fmt: skip
    return {"passed": published is not None, "reason": f"{reason}{tests}", "metadata": metadata}


def project_files(lake: Lake, transform: Transform) -> dict[str, str]:
    """The dbt project of one model, by path. The SQL was checked: it has no template of its own."""
    sql, sources = transform.steps[-1].sql, dict[str, list[str]]()
    for view in transform.reads:
        stage, _, table = view.table.partition("/")
        sources.setdefault(stage, []).append(table)
        sql = sql.replace(f'"{view.name}"', f"{{{{ source('{stage}', '{table}') }}}}")
    strategy = "append" if transform.write_mode == "append" else "replace"
    declared = [
        {"name": stage, "schema": stage, "tables": [{"name": t} for t in tables]}
        for stage, tables in sources.items()
    ]
    files = {
        "dbt_project.yml": _PROJECT,
        "profiles.yml": _PROFILE.format(lake=json.dumps(lake.root), stage=transform.stage),
        "models/sources.yml": json.dumps({"version": 2, "sources": declared}),
        f"models/{transform.name}.sql": f"{{{{ config(incremental_strategy='{strategy}') }}}}\n{sql}\n",
    }
    if transform.key:
        nulls = " or ".join(f'"{column}" is null' for column in transform.key)
        columns = ", ".join(f'"{column}"' for column in transform.key)
        files["tests/key_is_unique.sql"] = (
            f"select {columns} from {{{{ ref('{transform.name}') }}}} group by all having count(*) > 1 or {nulls}\n"
        )
    return files


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "dbt could not build it: " + "\n".join(lines[-15:])
