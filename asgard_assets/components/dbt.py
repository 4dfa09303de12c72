"""dbt models as assets: one dbt process builds a range of days, and publishes what passed its tests.

What stands in dbt's own YAML makes the asset: description, columns, tags, tests (asset checks, blocking
where their severity is error), `config(partition_by='ds')` (daily partitions), `config(unique_key=…)` (the
key), `meta.dagster` (owners, tags, kinds, fresh_hours, lookback_days, asset_key). A model is `[schema, name]`, as its table
lies in the lake; a source likewise, which makes it the Silver asset of that name.
"""

import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, DbtProjectComponent
from dagster_dbt.asset_utils import (
    DAGSTER_DBT_SELECT_METADATA_KEY,
    DAGSTER_DBT_UNIQUE_ID_METADATA_KEY,
    build_dbt_specs,
    default_asset_check_fn,
)
from packaging.version import Version

from asgard_assets.components.automation import LOOKBACK, looking_back, on_upstream_change
from asgard_assets.components.dbt_manifest import executable, manifest, prepare
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import days_of
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings

REPORT = "asgard_publish.json"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_QUIET = ("--no-version-check", "--no-use-colors")


class LocalDbt(DbtCliResource):
    """dagster-dbt's resource without its two slow questions, asked before every command.

    `dbt --version` takes three seconds and asks PyPI; the adapter handle serves only row counts by query,
    which the publish report makes needless.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(importlib.metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None


@dataclass
class DbtModels(DbtProjectComponent):
    """A dbt project whose `delta` models are published to the lake."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """No state store: the manifest is prepared in place, keyed by the content of the project."""
        return self.build_defs_from_state(context, None)

    def write_state_to_path(self, state_path: Path) -> None:
        prepare(self.dbt_project.project_dir)
        state_path.touch()

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """One op for the models by days and one for those that are a whole, so that each has its partitions."""
        project, found = self.dbt_project, manifest(self.dbt_project.project_dir)
        specs, checks = self._specs(found, project)
        assets = []
        for name, chosen in (
            ("daily", [spec for spec in specs if spec.partitions_def]),
            ("whole", [spec for spec in specs if not spec.partitions_def]),
        ):
            if chosen:
                assets.append(self._asset(found, f"{project.name}_{name}", chosen, checks))
        return dg.Definitions(assets=assets)

    def _asset(
        self,
        found: Mapping[str, Any],
        name: str,
        specs: Sequence[dg.AssetSpec],
        checks: Sequence[dg.AssetCheckSpec],
    ) -> dg.AssetsDefinition:
        specs = looking_back(specs)
        keys = {spec.key for spec in specs}
        names = [found["nodes"][spec.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]]["fqn"] for spec in specs]

        @dg.multi_asset(
            name=name,
            specs=specs,
            check_specs=[check for check in checks if check.asset_key in keys],
            can_subset=True,
            backfill_policy=dg.BackfillPolicy.single_run(),
            required_resource_keys={"lake"},
            op_tags={DAGSTER_DBT_SELECT_METADATA_KEY: " ".join("fqn:" + ".".join(fqn) for fqn in names)},
        )
        def build(context: dg.AssetExecutionContext) -> Iterator[Any]:
            project = self.dbt_project
            dbt = LocalDbt(
                project_dir=str(project.project_dir),
                profiles_dir=str(project.profiles_dir),
                profile=project.profile,
                target=project.target,
                dbt_executable=executable(),
            )
            with clear_failures():
                yield from self.execute(context, dbt)

        return build

    def _specs(
        self, found: Mapping[str, Any], project: DbtProject
    ) -> tuple[Sequence[dg.AssetSpec], Sequence[dg.AssetCheckSpec]]:
        if (self.select, self.exclude, self.selector) != ("fqn:*", "", ""):
            # dbt's own selection: costs its import, so only where asked for.
            return build_dbt_specs(
                translator=self.translator,
                manifest=found,
                select=self.select,
                exclude=self.exclude,
                selector=self.selector,
                io_manager_key=None,
                project=project,
            )
        specs, checks = [], {}
        for unique_id, node in found["nodes"].items():
            if not _is_asset(node):
                continue
            spec = self.translator.get_asset_spec(found, unique_id, project)
            specs.append(spec)
            for child in found["child_map"].get(unique_id, []):
                if child.startswith("test."):
                    check = self.get_asset_check_spec(spec, found, child, project)
                    if check:
                        checks[check.key] = check
        return specs, list(checks.values())

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The Dagster face of a model or a source; see the module's docstring for what comes from where."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        own = node.get("meta", {}).get("dagster", {})
        schema, table = node["schema"], node.get("alias") or node.get("identifier") or node["name"]
        if not own.get("asset_key"):
            spec = spec.replace_attributes(key=dg.AssetKey([schema, table]))
        if not _is_asset(node):
            return spec
        config, fresh = node["config"], timedelta(hours=float(own.get("fresh_hours", 26)))
        key = config.get("unique_key") or []
        spec = spec.replace_attributes(
            group_name=schema,
            owners=list(spec.owners or (Settings().owner,)),
            tags={"stage": schema, **spec.tags, **own.get("tags", {})},
            kinds={"dbt", "duckdb", config["materialized"], *own.get("kinds", ())},
            automation_condition=on_upstream_change(),
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=2 * fresh, warn_window=fresh),
            partitions_def=daily() if config.get("partition_by") else None,
        )
        return spec.merge_attributes(
            metadata={
                "dagster/uri": Lake.from_settings().path(schema, table),
                "dagster/table_name": f"{schema}.{table}",
                "key": key if isinstance(key, str) else ", ".join(key),
                LOOKBACK: own.get(LOOKBACK, 0),
            }
        )

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A dbt test as a check of the model that it is attached to, under this component's own asset keys."""
        translator: DagsterDbtTranslator = self.translator
        return default_asset_check_fn(manifest, translator, asset_spec.key, unique_id, project)

    def get_cli_args(self, context: dg.AssetExecutionContext) -> list[str]:
        """`dbt build` for the run's days. Unit tests prove the SQL, not the data: they belong to CI."""
        lake: Lake = context.resources.lake.lake
        given: dict[str, str] = {"lake": lake.root}
        if context.has_partition_key or context.has_partition_key_range:
            days = days_of(context)
            given |= {"min_date": days[0], "max_date": days[-1]}
        # Never rendered by Dagster: what depends on the run are the variables, and they are given here.
        args = [arg for arg in self.cli_args if isinstance(arg, str)]
        return [
            *args,
            "--vars",
            json.dumps(given),
            "--exclude-resource-type",
            "unit_test",
            "--no-version-check",
        ]

    def execute(self, context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        """Run dbt, then tell Dagster what was really published, with each day's rows.

        Check results come for every test that ran. Raises dg.Failure where a model stays unpublished, naming
        it and its failing tests; the published ones are recorded first.
        """
        work = Settings().home.absolute() / "dbt"
        work.mkdir(parents=True, exist_ok=True)
        target = Path(tempfile.mkdtemp(prefix=f"{context.run.run_id}-", dir=work))
        everything = cast(dg.AssetExecutionContext, _EveryCheck(context))
        run = dbt.cli(
            self.get_cli_args(context), context=everything, raise_on_error=False, target_path=target
        )
        # Outputs wait for the publish report: dbt calls a model done as soon as it is staged.
        events = [event for event in run.stream() if not _told_aside(context, event)]
        error = run.get_error()
        report = _report(target)
        specs = {spec.key.to_python_identifier(): spec for spec in context.assets_def.specs}
        for event in events:
            if not isinstance(event, dg.Output):
                continue
            spec = specs[event.output_name]
            published = report["published"].get(spec.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY])
            if published:
                yield _with_counts(context, event, spec.key, published)
            elif spec.metadata["dagster-dbt/materialization_type"] != "delta":
                yield event
        yield from (event for event in events if not isinstance(event, dg.Output))
        if report["unpublished"]:
            raise dg.Failure(
                "; ".join(
                    f"{u['table']} not published{_for(context)}: {u['reason']}"
                    for u in report["unpublished"].values()
                )
                + ". Readers still see the tables as they were.",
                metadata={"unpublished": dg.MetadataValue.json(report["unpublished"]), "dbt": str(target)},
                allow_retries=False,
            )
        if error:
            raise dg.Failure(
                f"dbt failed: {_reason(str(error))}",
                metadata={"dbt": str(target), "log": dg.MetadataValue.md(f"```\n{error}\n```")},
                allow_retries=False,
            )
        shutil.rmtree(target)


class _EveryCheck:
    """The op's context as dagster-dbt should see it: every test of the selected models runs.

    A run may leave checks out: automation does for an op that can be subset, and so may a person. But
    nothing is published untested.
    """

    def __init__(self, context: dg.AssetExecutionContext):
        self._context = context.op_execution_context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    @property
    def selected_asset_check_keys(self) -> set[dg.AssetCheckKey]:
        chosen = self._context.selected_asset_keys
        specs = self._context.assets_def.node_check_specs_by_output_name.values()
        return {spec.key for spec in specs if spec.asset_key in chosen}


def _told_aside(context: dg.AssetExecutionContext, event: Any) -> bool:
    """Report the result of a check that the run left out beside the run, which would not take it."""
    if not isinstance(event, dg.AssetCheckResult) or event.asset_key is None or event.check_name is None:
        return False
    key = dg.AssetCheckKey(event.asset_key, event.check_name)
    if key in context.selected_asset_check_keys:
        return False
    context.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=event.passed,
            metadata=event.metadata,
            severity=event.severity,
            blocking=event.severity == dg.AssetCheckSeverity.ERROR,
        )
    )
    return True


def _reason(text: str) -> str:
    """What dbt itself says, without dagster-dbt's account of the process around it."""
    said = _COLOURS.sub("", text).rpartition("Errors parsed from dbt logs:")[2]
    return " ".join(said.split())[:4000]


def _for(context: dg.AssetExecutionContext) -> str:
    """` for 2026-10-05` or ` for 2026-10-05 to 2026-11-01`; nothing where the models are a whole."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ""
    days = days_of(context)
    return f" for {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def _is_asset(node: Mapping[str, Any]) -> bool:
    kinds = ("model", "seed", "snapshot")
    return node["resource_type"] in kinds and node["config"]["materialized"] != "ephemeral"


def _report(target: Path) -> Mapping[str, Any]:
    """What the delta materialization did; nothing where dbt ended before its last hook."""
    path = target / REPORT
    if not path.is_file():
        return {"published": {}, "unpublished": {}}
    return json.loads(path.read_bytes())


def _with_counts(
    context: dg.AssetExecutionContext, event: dg.Output, key: dg.AssetKey, published: Mapping[str, Any]
) -> dg.Output:
    rows, version = published["rows"], published["version"]
    total = {"version": version, "files": published["files"], "bytes": published["bytes"]}
    if "" in rows:
        total["dagster/row_count"] = rows[""]
    else:
        for day, count in rows.items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": count, "version": version}, asset_key=key, partition_key=day
            )
    return event.with_metadata({**event.metadata, **total})
