"""dbt models as assets: one dbt process builds a range of days, and publishes what passed its tests.

What stands in dbt's own YAML makes the asset: description, columns, tags, group owners, tests (asset checks,
blocking where their severity is error), `config(partition_by='ds')` (a partition each day, or as `every` says),
`config(unique_key=…)` (the key), `meta.dagster` (owners, tags, kinds, every, fresh_hours, lookback_days, retries, rebuild,
asset_key). A model is `[schema, name]`, as its table lies in the lake; a source likewise, which makes it the Silver asset of that name.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster.components.resolved.core_models import OpSpec
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, DbtProjectComponent
from dagster_dbt.asset_utils import default_asset_check_fn, get_asset_check_key_for_test
from dagster_dbt.components.dbt_component_utils import _set_resolution_context, resolve_cli_args
from dagster_dbt.utils import select_unique_ids
from packaging.version import Version
from pydantic import BaseModel

from asgard_assets.components.authoring.descriptions import described
from asgard_assets.components.authoring.table_scaffolds import DbtScaffolder
from asgard_assets.components.automation import LOOKBACK, looking_back, on_upstream_change, once_ended
from asgard_assets.components.dbt.alone import FRESHNESS, Alone
from asgard_assets.components.dbt.checks import no_table, with_homes
from asgard_assets.components.dbt.manifest import PARSE, executable, manifest, prepare, profiles
from asgard_assets.components.dbt.run import DbtRun
from asgard_assets.components.dbt.sources import says_freshness, source_freshness
from asgard_assets.components.dbt.unfit import unfit
from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.components.following.reads import OPEN_WINDOWS, READS, REBUILD
from asgard_assets.components.following.zones import CUTS
from asgard_assets.components.partitions import calendar_of, partitions_of, second_of, time_of
from asgard_assets.components.tables import days_of
from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS, Lake
from asgard_assets.settings import Settings
from asgard_assets.windows import FEEDS, Calendar, Every, by_value, checked_values, zone_named

_DESCRIPTIONS = {
    "translation": "Changes to the asset of each model, such as `group_name: sales`; `{{ node }}` is dbt's model."
}
Node = Mapping[str, Any]
RETRIES, FULL_REFRESH = "retries", "full_refresh"
_FULL_REFRESH = {
    FULL_REFRESH: dg.Field(
        bool,
        default_value=False,
        description="Build the chosen incremental models and seeds anew (`dbt build --full-refresh`).",
    )
}
_BUILDING = (
    "materialized",
    "partition_by",
    "unique_key",
    "incremental_strategy",
    "on_schema_change",
    "pre-hook",
    "post-hook",
)
_OPS: Mapping[Every, str] = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}
_ASSETS = ("model", "seed", "snapshot")
_CUTS = "in_windows_at("
"""The macro by which a model takes the rows that happened in its windows, whatever those of its parent are."""


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


@dg.scaffold_with(DbtScaffolder)
@dataclass
class DbtModels(DbtProjectComponent):
    """Any dbt project; what it builds is published to the lake where its profile says `type: delta`."""

    @classmethod
    def get_model_cls(cls) -> type[BaseModel] | None:
        return described(super().get_model_cls(), cls, _DESCRIPTIONS)

    @classmethod
    def get_code_references_for_yaml(cls, *_: Any, **__: Any) -> list[Any]:
        """None: each model's `.sql` defines it."""
        return []

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """No state store: the manifest is prepared in place, keyed by the content of the project."""
        return self.build_defs_from_state(context, None)

    def write_state_to_path(self, state_path: Path) -> None:
        project, command = self.dbt_project, self._prepare_command
        prepare(
            project.project_dir,
            project.profile,
            project.target,
            profiles_dir=self._profiles_dir,
            command=command,
        )
        state_path.touch()

    @cached_property
    def _settings(self) -> Settings:
        return Settings()

    @cached_property
    def _lake(self) -> Lake:
        return Lake.from_settings()

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """dbt's manifest, with what Dagster could not name made nameable."""
        project, command = self.dbt_project, self._prepare_command
        found = manifest(project.project_dir, project.profile, project.target, self._profiles_dir, command)
        return _nameable(found)

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """One op for the models of each calendar and one for those that are a whole, so that each has its partitions."""
        specs, checks = self._specs(self.manifest, self.dbt_project)
        refuse_longer_parents(self.manifest)
        refuse_same_keys(self.manifest)
        refuse_unfit(self.manifest)
        by_name, outputs = dict[str, list[dg.AssetSpec]](), set[str]()
        for spec in specs:
            calendar, second = calendar_of(time_of(spec.partitions_def)), second_of(spec.partitions_def)
            name = (_op_of(calendar) if calendar else "whole") + (f"_by_{second[0]}" if second else "")
            # `a__b.c` and `a.b__c`: an op would have two outputs of one name. Other regions: it would have two calendars.
            while (output := f"{name}/{spec.key.to_python_identifier()}") in outputs or by_name.get(
                name, [spec]
            )[0].partitions_def != spec.partitions_def:
                name += "_also"
            outputs.add(output)
            by_name.setdefault(name, []).append(spec)
        assets = [self._asset(context, name, chosen, checks) for name, chosen in sorted(by_name.items())]
        sources = {
            self.translator.get_asset_spec(self.manifest, unique_id, self.dbt_project).key: source
            for unique_id, source in self.manifest["sources"].items()
        }
        name, made = _word(self.dbt_project.name), {spec.key for spec in specs}
        elsewhere = [check for check in checks if check.asset_key not in made]
        fresh = self._freshness_checks()
        checking = (
            [self._checks_alone(context, f"{name}_sources", elsewhere, fresh)] if elsewhere or fresh else []
        )
        return dg.Definitions(
            assets=[*assets, *self._no_table(elsewhere)],
            asset_checks=checking,
            metadata=source_freshness(name, sources),
        )

    def _no_table(self, checks: Sequence[dg.AssetCheckSpec]) -> list[dg.AssetSpec]:
        """The asset that tests without any table belong to."""
        unique_id = no_table(self.manifest)
        spec = unique_id and self.translator.get_asset_spec(self.manifest, unique_id, self.dbt_project)
        if not spec or spec.key not in {check.asset_key for check in checks}:
            return []
        return [dg.AssetSpec(spec.key, description=spec.description, kinds={"dbt"})]

    def _freshness_checks(self) -> dict[str, dg.AssetCheckSpec]:
        """`dbt source freshness` as checks, by the source's id: of those that say by which column, or query."""
        if not self.translator.settings.enable_asset_checks:
            return {}
        return {
            unique_id: dg.AssetCheckSpec(
                FRESHNESS,
                asset=self.translator.get_asset_spec(self.manifest, unique_id, self.dbt_project).key,
                description=f"dbt source freshness of {source['source_name']}.{source['name']}",
            )
            for unique_id, source in self.manifest["sources"].items()
            if says_freshness(source) and self._is_chosen(unique_id)
        }

    def _checks_alone(
        self,
        loading: dg.ComponentLoadContext,
        name: str,
        tests: Sequence[dg.AssetCheckSpec],
        fresh: Mapping[str, dg.AssetCheckSpec],
    ) -> dg.AssetChecksDefinition:
        """Checks of assets which other stages make, and of none: their tests run by themselves."""

        @dg.multi_asset_check(
            name=name, specs=[*tests, *fresh.values()], can_subset=True, required_resource_keys={"lake"}
        )
        def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
            wanted = context.selected_asset_check_keys
            chosen = [s for s in tests if s.key in wanted]
            sources = {u: s for u, s in fresh.items() if s.key in wanted}
            with clear_failures(), _set_resolution_context(loading.resolution_context):
                given = self._vars_alone(context.op_execution_context)
                alone = Alone(self._dbt(), self.translator, self.manifest, given)
                yield from alone.test(chosen)
                yield from alone.freshness(sources)

        return check

    def _vars_alone(self, context: Any) -> list[str]:
        """`--vars` for tests by themselves: the component's own, and the lake where it is not that of the settings."""
        with_own = resolve_cli_args(self.cli_args, context)
        return _vars(with_own, self._lake_vars(context.resources.lake.lake))[1]

    def _dbt(self) -> DbtCliResource:
        project = self.dbt_project
        folder, profile = profiles(project.project_dir, project.profile, self._profiles_dir)
        kind = DbtCliResource if self._asks_the_warehouse else LocalDbt
        return kind(
            project_dir=str(project.project_dir),
            profiles_dir=str(folder),
            profile=profile,
            target=project.target,
            dbt_executable=executable(),
        )

    @property
    def _profiles_dir(self) -> Path | None:
        """The folder of profiles.yml where the component names one; dagster-dbt's default is the project's own."""
        project = self.dbt_project
        return None if project.profiles_dir == project.project_dir else project.profiles_dir

    @property
    def _prepare_command(self) -> tuple[str, ...]:
        """`prepare_project_cli_args`, which dagster-dbt keeps to itself; by default `parse` with the runs' own `--vars`:
        with others dbt would make other models of some projects, and parse anew in each run."""
        asked = getattr(self.dbt_project.preparer, "_prepare_project_cli_args", PARSE)
        if list(asked) != ["parse", "--quiet"]:
            return tuple(asked)
        words = [
            w for arg in self.cli_args for w in (arg.items() if isinstance(arg, dict) else [(arg, None)])
        ]
        flat = [
            str(w) if not isinstance(w, Mapping) else json.dumps(w)
            for pair in words
            for w in pair
            if w is not None
        ]
        _, given = _vars(flat, {})
        return (*PARSE, *given) if given and "{{" not in given[1] else PARSE

    @property
    def _asks_the_warehouse(self) -> bool:
        """Are row counts and columns wanted, and not told by the publish report anyway?"""
        return bool(self.include_metadata) and self.manifest["metadata"]["adapter_type"] != "delta"

    def _asset(
        self,
        loading: dg.ComponentLoadContext,
        name: str,
        specs: Sequence[dg.AssetSpec],
        checks: Sequence[dg.AssetCheckSpec],
    ) -> dg.AssetsDefinition:
        specs = looking_back(specs)
        keys = {spec.key for spec in specs}
        said = [int(spec.metadata[RETRIES]) for spec in specs if RETRIES in spec.metadata]
        op = self.op or OpSpec()

        @dg.multi_asset(
            name=f"{_word(op.name or self.dbt_project.name)}_{name}",
            description=op.description,
            specs=specs,
            check_specs=[check for check in checks if check.asset_key in keys],
            can_subset=True,
            op_tags=op.tags,
            pool=op.pool,
            # A command of dbt builds one value of the second column.
            backfill_policy=dg.BackfillPolicy.multi_run(1)
            if second_of(specs[0].partitions_def)
            else op.backfill_policy or dg.BackfillPolicy.single_run(),
            required_resource_keys={"lake"},
            retry_policy=retry_policy(max(said) if said else None),
            config_schema=_FULL_REFRESH if name.startswith("whole") else None,
        )
        def build(context: dg.AssetExecutionContext) -> Iterator[Any]:
            with clear_failures(), _set_resolution_context(loading.resolution_context):
                yield from self.execute(context, self._dbt())

        return build

    def _specs(
        self, found: Mapping[str, Any], project: DbtProject
    ) -> tuple[Sequence[dg.AssetSpec], Sequence[dg.AssetCheckSpec]]:
        specs, checks = list[dg.AssetSpec](), list[dg.AssetCheckSpec]()
        for unique_id, node in found["nodes"].items():
            if is_asset(node) and self._is_chosen(unique_id):
                specs.append(self.translator.get_asset_spec(found, unique_id, project))
        made = {spec.key for spec in specs}
        every = {*found["nodes"]} if self._chosen is None else self._chosen
        for unique_id, node in found["nodes"].items():
            if node["resource_type"] != "test" or unique_id not in every:
                continue
            key = get_asset_check_key_for_test(found, self.translator, unique_id, project)
            home = key and dg.AssetSpec(key.asset_key)
            check = home and self.get_asset_check_spec(home, found, unique_id, project)
            if check and (check.asset_key in made or node["attached_node"] in found["sources"]):
                checks.append(check)
        return specs, checks

    def _is_chosen(self, unique_id: str) -> bool:
        return self._chosen is None or unique_id in self._chosen

    @cached_property
    def _chosen(self) -> Set[str] | None:
        """What `select`, `exclude` and `selector` name; None: everything. dbt's own selection costs its import."""
        if (self.select, self.exclude, self.selector) == ("fqn:*", "", ""):
            return None
        return select_unique_ids(self.select, self.exclude, self.selector, self.dbt_project, self.manifest)

    @cached_property
    def _known_specs(self) -> dict[tuple[int, str], dg.AssetSpec]:
        return {}

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The Dagster face of a model or a source; see the module's docstring for what comes from where.

        Made once: dagster-dbt asks again for each child and each test.
        """
        known, asked = self._known_specs, (id(manifest), unique_id)
        if asked not in known:
            known[asked] = self._make_spec(manifest, unique_id, project)
        return known[asked]

    def _make_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        # dagster-dbt asks again for each event of a run, then without the project that code references need.
        spec = super().get_asset_spec(manifest, unique_id, project or self.dbt_project)
        node = self.get_resource_props(manifest, unique_id)
        meta = {**(node.get("meta") or {}), **(node.get("config", {}).get("meta") or {})}
        own = meta.get("dagster") or {}
        schema, table = node["schema"], _table(node)
        if not own.get("asset_key"):
            spec = spec.replace_attributes(key=dg.AssetKey([_word(schema), _word(table)]))
        if not is_asset(node):
            return spec
        config, fresh = node["config"], timedelta(hours=float(own.get("fresh_hours", 26)))
        key = config.get("unique_key") or []
        engine = manifest["metadata"].get("adapter_type") or "duckdb"
        every = every_of(node)
        slices = slices_of(node, every, engine)
        partitions = partitions_of(every, _zone_of(node), slices) if every else None
        if own.get(LOOKBACK) and slices:
            raise ConfigError(
                f"dbt model {node['name']}: {LOOKBACK} does not go with partitions; leave one of them out"
            )
        if own.get(LOOKBACK) and every != "day":
            raise ConfigError(
                f"dbt model {node['name']}: {LOOKBACK} counts days, and needs a partition every day"
            )
        spec = spec.replace_attributes(
            group_name=_word(spec.group_name or schema),
            owners=list(own.get("owners") or spec.owners or (self._settings.owner,)),
            tags={"stage": _word(schema), **spec.tags, **own.get("tags", {})},
            kinds={
                "dbt",
                "duckdb" if engine == "delta" else engine,
                config["materialized"],
                *own.get("kinds", ()),
            },
            automation_condition=once_ended(on_upstream_change(), partitions, into_open=True),
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=2 * fresh, warn_window=fresh),
            partitions_def=partitions,
            code_version=code_of(manifest, unique_id),
        )
        return spec.merge_attributes(
            metadata={
                "dagster/uri": self._lake.path(schema, table),
                "dagster/table_name": f"{schema}.{table}",
                "key": key if isinstance(key, str) else ", ".join(key),
                LOOKBACK: own.get(LOOKBACK, 0),
                **({READS: {}, OPEN_WINDOWS: True} if _says_what_it_read(node, engine) else {}),
                **({CUTS: True} if _CUTS in (node.get("raw_code") or "") else {}),
                **({RETRIES: int(own[RETRIES])} if RETRIES in own else {}),
                **({REBUILD: own[REBUILD]} if own.get(REBUILD, "never") != "never" else {}),
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
        check = default_asset_check_fn(manifest, translator, asset_spec.key, unique_id, project)
        said = manifest["nodes"][unique_id].get("description")
        return check._replace(description=said) if check and said and not check.description else check

    def get_cli_args(self, context: dg.AssetExecutionContext) -> list[str]:
        """`dbt build` for the run's days. Unit tests prove the SQL, not the data: they belong to CI."""
        given = self._lake_vars(context.resources.lake.lake)
        if context.has_partition_key or context.has_partition_key_range:
            definition = context.assets_def.partitions_def
            (value, keys), *others = by_value(days_of(context)).items()
            calendar, second = calendar_of(time_of(definition)) or Calendar(), second_of(definition)
            if others:
                raise ConfigError(
                    f"dbt builds one {second[0] if second else 'value'} at a time; ask for a range of {value} alone, or for single "
                    "partitions"
                )
            given |= {second[0]: value} if second else {}
            given |= {"min_date": calendar.days_of(keys[0])[0], "max_date": calendar.days_of(keys[-1])[1]}
            if calendar.every == "hour":
                given |= {"min_hour": keys[0], "max_hour": keys[-1]}
        args, given_vars = _vars(super().get_cli_args(context), given)
        if (context.op_execution_context.op_config or {}).get(FULL_REFRESH):
            args.append("--full-refresh")
        return [*args, *given_vars, "--exclude-resource-type", "unit_test", "--no-version-check"]

    def _lake_vars(self, lake: Lake) -> dict[str, Any]:
        """Each change of the variables makes dbt parse the project anew: what is known without them stays out."""
        if self.manifest["metadata"]["adapter_type"] == "trino":
            published = [f"{stage}/{name}" for stage, name in lake.tables()]
            return {"lake": lake.root, "published": published}
        return {} if lake.root == Settings().lake_root else {"lake": lake.root}

    def execute(self, context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        """Build the selected models; what was published is recorded, with its rows, even where others fail."""
        if not context.selected_asset_keys:
            # Checks alone: their tests run on what is there, and nothing is built.
            chosen = [
                spec
                for spec in context.assets_def.check_specs
                if spec.key in context.selected_asset_check_keys
            ]
            yield from Alone(
                dbt, self.translator, self.manifest, self._vars_alone(context.op_execution_context)
            ).test(chosen)
            return
        asked = self.include_metadata if self._asks_the_warehouse else ()
        run = DbtRun(context, dbt, self.translator, self.manifest, self.dbt_project, asked)
        yield from run.build(self.get_cli_args(context))


def is_asset(node: Node) -> bool:
    """Is it a table or a view, which somebody can read?"""
    return node["resource_type"] in _ASSETS and node["config"]["materialized"] != "ephemeral"


def key_of(node: Node) -> dg.AssetKey:
    """`[schema, name]`, or what the node itself says in `meta.dagster.asset_key`."""
    meta = {**(node.get("meta") or {}), **(node.get("config", {}).get("meta") or {})}
    own = (meta.get("dagster") or {}).get("asset_key")
    return dg.AssetKey(own or [_word(node["schema"]), _word(_table(node))])


def output_of(node: Node) -> str:
    """How Dagster names the output that stands for the asset."""
    return key_of(node).to_python_identifier()


def refuse_unfit(found: Mapping[str, Any]) -> None:
    """Raise ConfigError where a model asks for what the lake cannot hold; of another warehouse nothing is known."""
    reasons = [r for n in found["nodes"].values() if n["resource_type"] in _ASSETS and (r := unfit(n))]
    if reasons and found["metadata"].get("adapter_type") == "delta":
        raise ConfigError("dbt: " + "; ".join(reasons))


def refuse_same_keys(found: Mapping[str, Any]) -> None:
    """Raise ConfigError where two models would be one asset, and one table of the lake."""
    known = dict[dg.AssetKey, Node]()
    for node in filter(is_asset, found["nodes"].values()):
        other = known.setdefault(key_of(node), node)
        if other is not node:
            raise ConfigError(
                f"dbt: {other['unique_id']} and {node['unique_id']} would both be the asset {key_of(node).to_user_string()}. "
                "Give one of them another alias or schema, or a key of its own (meta.dagster.asset_key)"
            )


def every_of(node: Mapping[str, Any]) -> Every | None:
    """How long a model's partitions are (`meta.dagster.every`, by default a day); None of a model without any.

    Raises ConfigError where it says something else, or says it of a model that is a whole.
    """
    config = node["config"]
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    said = (meta.get("dagster") or {}).get("every")
    if config["materialized"] != "delta" or config.get("partition_by") not in (DS, [DS]):
        if said is not None:
            raise ConfigError(
                f"dbt model {node['name']}: every: {said} needs config(materialized='delta', partition_by='{DS}')"
            )
        return None
    if said is not None and said not in FEEDS:
        raise ConfigError(f"dbt model {node['name']}: every is {said!r}; write {', '.join(FEEDS)}")
    return said or "day"


def slices_of(node: Node, every: Every | None, engine: str) -> dict[str, Any]:
    """The second column of a model and its values (`meta.dagster.partitions`). Raises ConfigError, which names the file, where
    it says something else, or says it of a model that cannot be cut."""
    meta = {**(node.get("meta") or {}), **(node["config"].get("meta") or {})}
    found = (meta.get("dagster") or {}).get("partitions")
    if not found:
        return {}
    model = f"dbt model {node['name']} ({node.get('original_file_path') or node['name']})"
    if not isinstance(found, Mapping):
        raise ConfigError(f"{model}: partitions is {found!r}; write {{'region': ['eu', 'us']}}")
    if every is None or engine != "delta":
        raise ConfigError(
            f"{model}: partitions: {', '.join(found)} needs config(materialized='delta', partition_by='{DS}') and a profile of "
            "type delta"
        )
    if (strategy := node["config"].get("incremental_strategy")) not in (None, "replace"):
        raise ConfigError(
            f"{model}: incremental_strategy {strategy} does not go with partitions: a run replaces its own slice; leave it out"
        )
    try:
        checked_values(found)
    except ConfigError as error:
        raise ConfigError(f"{model}: {error}") from error
    return dict(found)


def _zone_of(node: Mapping[str, Any]) -> str:
    """The zone of a model's windows (`meta.dagster.time_zone`), '' for the project's. Raises ConfigError for none."""
    meta = {**(node.get("meta") or {}), **(node["config"].get("meta") or {})}
    zone = (meta.get("dagster") or {}).get("time_zone") or ""
    try:
        return str(zone_named(zone)) if zone else ""
    except ConfigError as error:
        raise ConfigError(f"dbt model {node['name']}: time_zone: {error}") from error


def _op_of(calendar: Calendar) -> str:
    """The name of the op that builds models of this calendar: one for each length, and for each further zone."""
    zone = str(calendar.zone)
    return _OPS[calendar.every] + (
        "" if zone == Settings().time_zone else f"_{re.sub(r'[^a-z0-9]+', '_', zone.lower())}"
    )


def refuse_longer_parents(found: Mapping[str, Any]) -> None:
    """Raise ConfigError where a model reads one whose windows do not make up its own."""
    nodes = found["nodes"]
    every: dict[str, Every | None] = {u: every_of(node) for u, node in nodes.items() if is_asset(node)}
    for unique_id, own in every.items():
        for parent in found["parent_map"].get(unique_id, []):
            other = every.get(parent)
            if own and other and own not in FEEDS[other]:
                raise ConfigError(
                    f"dbt model {nodes[unique_id]['name']} has a partition every {own} and reads "
                    f"{nodes[parent]['name']}, every {other}: hours feed days, days feed weeks and months. Choose "
                    "another `every` for one of the two"
                )


def code_of(found: Mapping[str, Any], unique_id: str) -> str:
    """The version of a model's code: its SQL, the macros of the project that it calls, and its ephemeral parents.

    dbt's own macros are part of dbt's version, and left out.
    """
    nodes, macros = found["nodes"], found.get("macros", {})
    texts, seen, todo = list[str](), set[str](), [unique_id]
    while todo:
        name = todo.pop()
        if name in seen or name.startswith(("macro.dbt.", "macro.dbt_duckdb.", "macro.delta.")):
            continue
        seen.add(name)
        one = nodes.get(name) or macros.get(name) or {}
        config = one.get("config") or {}
        chosen = {each: config.get(each) for each in _BUILDING if config.get(each)}
        code = (
            one.get("raw_code") or one.get("macro_sql") or (one.get("checksum") or {}).get("checksum") or ""
        )
        texts.append(json.dumps([name, code, chosen], sort_keys=True, default=str))
        read = one.get("depends_on") or {}
        todo += read.get("macros", ())
        todo += [each for each in read.get("nodes", ()) if _is_ephemeral(nodes.get(each))]
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:16]


def _is_ephemeral(node: Mapping[str, Any] | None) -> bool:
    return bool(node) and (node or {})["config"].get("materialized") == "ephemeral"


def _says_what_it_read(node: Mapping[str, Any], engine: str) -> bool:
    """Whether the adapter publishes the model to the lake: only then is it known what it was built from."""
    config = node["config"]
    elsewhere = ("view", "table_function", "external", "ephemeral")
    return engine == "delta" and config["materialized"] not in elsewhere and not config.get("database")


def _vars(args: Sequence[str], given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The arguments without `--vars`, and one `--vars` that holds theirs and what is given."""
    left, merged = list(args), dict(given)
    while "--vars" in left:
        at = left.index("--vars")
        merged = (yaml.safe_load(left[at + 1]) or {}) | merged
        del left[at : at + 2]
    return left, ["--vars", json.dumps(merged)] if merged else []


def _word(text: str) -> str:
    """As Dagster allows it in names."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def _nameable(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest with names of tests and owners that Dagster takes, and each test attached to one asset.

    A source that the project makes itself is spelled as what makes it, also where dbt's engine does not tell RAW
    from raw.
    """
    nodes = found["nodes"]
    made = {_lower(node["schema"], _table(node)): node for node in nodes.values() if is_asset(node)}
    sources = dict(found["sources"])
    for unique_id, source in sources.items():
        if maker := made.get(_lower(source["schema"], _table(source))):
            sources[unique_id] = {**source, "schema": maker["schema"], "identifier": _table(maker)}
    groups = {
        unique_id: {**group, "owner": _addressed(group.get("owner") or {})}
        for unique_id, group in found.get("groups", {}).items()
    }
    return with_homes({**found, "sources": sources, "groups": groups}, is_asset, output_of)


def _table(node: Mapping[str, Any]) -> str:
    return node.get("alias") or node.get("identifier") or node["name"]


def _lower(*names: str) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _addressed(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    emails = owner.get("email") or []
    valid = [e for e in ([emails] if isinstance(emails, str) else emails) if re.fullmatch(r"\S+@\S+\.\S+", e)]
    return {**owner, "email": valid}
