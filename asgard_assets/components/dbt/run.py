"""One run of dbt under Dagster: what to select, and what its events and its publish report mean."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject
from dagster_dbt.asset_utils import DAGSTER_DBT_UNIQUE_ID_METADATA_KEY

from asgard_assets import strangers
from asgard_assets.components.dbt.checks import with_rows
from asgard_assets.components.dbt.columns import column_metadata
from asgard_assets.components.following.reads import all_specs, code_number, inputs_of
from asgard_assets.components.partitions import calendar_of, time_of
from asgard_assets.components.tables import days_of
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.reads import Edge, Reads
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar

REPORT, READS = "delta_publish.json", "asgard_reads.json"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class DbtRun:
    """`build` yields Dagster's events for the models that the run selected."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        dbt: DbtCliResource,
        translator: DagsterDbtTranslator,
        manifest: Mapping[str, Any],
        project: DbtProject,
        asked: Sequence[str] = (),
    ) -> None:
        self.context, self.dbt, self.translator = context, dbt, translator
        self.manifest, self.project, self.asked = manifest, project, asked
        self.lake: Lake = context.resources.lake.lake
        self.specs = {
            str(spec.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]): spec for spec in context.assets_def.specs
        }

    def build(self, args: Sequence[str]) -> Iterator[Any]:
        """Run dbt, then tell Dagster what was really published, with each day's rows.

        Every test of the selected models runs, also where the run leaves checks out: nothing is published
        untested. Raises dg.Failure where a model stays unpublished, naming it and its failing tests; the
        published ones are recorded first.
        """
        chosen = self.context.selected_asset_keys
        selected = [unique_id for unique_id, spec in self.specs.items() if spec.key in chosen]
        unpublished: dict[str, Any] = {}
        errors: list[str] = []
        targets: list[Path] = []
        for chosen_words in self._phases(selected):
            target = self._target()
            targets.append(target)
            (target / READS).write_text(json.dumps(self._reads(selected)))
            with _in_zone(calendar_of(time_of(self.context.assets_def.partitions_def))):
                run = self.dbt.cli(
                    [*args, *chosen_words],
                    manifest=self.manifest,
                    dagster_dbt_translator=self.translator,
                    raise_on_error=False,
                    target_path=target,
                )
            # Outputs wait for the publish report: dbt calls a model done as soon as it is staged.
            stream = run.stream()
            if "column_metadata" in self.asked:
                stream = stream.fetch_column_metadata()
            if "row_count" in self.asked:
                stream = stream.fetch_row_counts()
            events = list(stream)
            report = report_of(target)
            yield from self._outputs(events, report, target)
            unpublished |= report.get("unpublished", {})
            if error := run.get_error():
                errors.append(str(error))
            if errors or unpublished:
                break
        self._raise(unpublished, errors, targets)
        for target in targets:
            shutil.rmtree(target)

    def _reads(self, selected: Sequence[str]) -> dict[str, Any]:
        """The inputs as they stand before dbt reads the first of them, for the publish at its end."""
        specs = all_specs(self.context) | {spec.key: spec for spec in self.specs.values()}
        models, edges = dict[str, Any](), list[Edge]()
        for spec in (self.specs[unique_id] for unique_id in selected):
            found = [each.edge for each in inputs_of(spec, specs) if each.counts]
            models["/".join(spec.key.path)] = {"edges": [asdict(e) for e in found], "code": code_number(spec)}
            edges += found
        return {"stands": Reads.open(self.lake, edges).listed(), "models": models}

    def _phases(self, selected: list[str]) -> list[list[str]]:
        """What to tell dbt, command by command.

        What is also declared as a source is built before what reads that source: dbt sees no edge there. A test
        runs as soon as all that it reads is built, which dbt's own choice of tests would not wait for.
        """
        nodes = self.manifest["nodes"]
        made = {_address(nodes[unique_id]): unique_id for unique_id in selected}
        sources = {u: made.get(_address(source)) for u, source in self.manifest["sources"].items()}
        phase: dict[str, int] = {}

        def of(unique_id: str) -> int:
            if unique_id not in phase:
                phase[unique_id] = 0  # should it read itself by way of a source
                parents = self.manifest["parent_map"].get(unique_id, [])
                makers = [m for p in parents if (m := sources.get(p)) and m != unique_id]
                phase[unique_id] = max([*map(of, parents), *(of(m) + 1 for m in makers)], default=0)
            return phase[unique_id]

        places = {unique_id: of(unique_id) for unique_id in selected}
        if len({*places.values()}) < 2:
            return [["--select", self._select(selected)]]
        tests: dict[int, list[str]] = {}  # by the phase after which all that they read is built
        for unique_id, node in nodes.items():
            given = self.manifest["parent_map"].get(unique_id, [])
            if node["resource_type"] == "test" and any(p in places for p in given):
                read = [places[m] for p in given if (m := sources.get(p) or p) in places]
                tests.setdefault(max(read), []).append(unique_id)
        chosen = [
            [u for u in selected if places[u] == at] + tests.get(at, []) for at in sorted({*places.values()})
        ]
        return [["--indirect-selection", "empty", "--select", self._select(ids)] for ids in chosen]

    def _select(self, ids: Sequence[str]) -> str:
        """dbt's words for these nodes; one word where it is all models, for a command line has an end."""
        everything = [
            n
            for n, node in self.manifest["nodes"].items()
            if node["resource_type"] in ("model", "seed", "snapshot")
        ]
        nodes = self.manifest["nodes"]
        if {*ids} >= {n for n in everything if nodes[n]["config"]["materialized"] != "ephemeral"}:
            return "fqn:*"
        return " ".join(selector(nodes[unique_id]) for unique_id in ids)

    def _target(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{self.context.run.run_id}-", dir=work_folder()))

    def _outputs(self, events: Sequence[Any], report: Mapping[str, Any], target: Path) -> Iterator[Any]:
        columns = {
            unique_id: column_metadata(unique_id, self.manifest, report["columns"], target, self._key)
            for unique_id in report.get("columns", {})
            if unique_id in self.specs
        }
        for event in events:
            if not isinstance(event, dg.AssetMaterialization):
                continue
            unique_id = str(event.metadata["unique_id"].value)
            if unique_id not in self.specs or not self._is_built(unique_id, report):
                continue
            done = report.get("published", {}).get(unique_id) or self._found(unique_id)
            spec = self.specs[unique_id]
            metadata = {**event.metadata, **(self._counts(spec.key, done) if done else {})}
            yield dg.Output(
                None, spec.key.to_python_identifier(), metadata={**metadata, **columns.get(unique_id, {})}
            )
        found = report.get("found", {})
        for event in events:
            if isinstance(event, dg.AssetCheckEvaluation):
                rows = found.get(str(event.metadata["unique_id"].value))
                yield from self._check(event, with_rows(event.metadata, rows))
            elif isinstance(event, dg.AssetObservation):
                yield event

    def _is_built(self, unique_id: str, report: Mapping[str, Any]) -> bool:
        """Does it stand where readers look? With `type: delta` only the report of the run's end knows."""
        if self.manifest["metadata"]["adapter_type"] != "delta":
            return True
        return unique_id in report.get("columns", {}) and unique_id not in report.get("unpublished", {})

    def _check(
        self, event: dg.AssetCheckEvaluation, metadata: Mapping[str, Any]
    ) -> Iterator[dg.AssetCheckResult]:
        key = dg.AssetCheckKey(event.asset_key, event.check_name)
        if key in self.context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                passed=event.passed,
                asset_key=key.asset_key,
                check_name=key.name,
                severity=event.severity,
                metadata=metadata,
            )
        else:
            # The run left this check out, and would not take its result: it is told beside the run.
            self.context.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=event.passed,
                    metadata=metadata,
                    severity=event.severity,
                    blocking=event.severity == dg.AssetCheckSeverity.ERROR,
                )
            )

    def _key(self, unique_id: str) -> dg.AssetKey:
        return self.translator.get_asset_spec(self.manifest, unique_id, self.project).key

    def _counts(self, key: dg.AssetKey, done: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = done["rows"]
        total = {"version": done["version"], "files": done["files"], "bytes": done["bytes"]}
        if "" in rows:
            return {**total, "dagster/row_count": rows[""]}
        for day, count in rows.items():
            self.context.add_asset_metadata(
                {"dagster/partition_row_count": count, "version": done["version"]},
                asset_key=key,
                partition_key=day,
            )
        return total

    def _found(self, unique_id: str) -> Mapping[str, Any] | None:
        """The same figures from the Delta log, for an engine that publishes by itself (Trino)."""
        node = self.manifest["nodes"][unique_id]
        if node["config"]["materialized"] == "view" or self.manifest["metadata"]["adapter_type"] != "trino":
            return None
        table = self.lake.table(node["schema"], node.get("alias") or node["name"])
        if table is None:
            return None
        import pyarrow as pa

        files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        rows: dict[str, int] = {}
        days = days_of(self.context) if self.specs[unique_id].partitions_def else [""]
        for day in days:
            rows[day] = sum(
                f["num_records"] or 0 for f in files if not day or f.get(f"partition.{DS}") == day
            )
        size = sum(f["size_bytes"] for f in files)
        return {"version": table.version(), "files": len(files), "bytes": size, "rows": rows}

    def _raise(self, unpublished: Mapping[str, Any], errors: Sequence[str], targets: Sequence[Path]) -> None:
        work = ", ".join(map(str, targets))
        if unpublished:
            said = "; ".join(
                f"{u['table']} not published{_for(self.context)}: {u['reason']}" for u in unpublished.values()
            )
            if any(u["reason"] == "the model failed" for u in unpublished.values()) and errors:
                said += f". dbt says: {reason_of(errors[0])}"
            raise dg.Failure(
                said + ". Readers still see the tables as they were.",
                metadata={"unpublished": dg.MetadataValue.json(dict(unpublished)), "dbt": work},
                allow_retries=False,
            )
        if errors:
            raise dg.Failure(
                f"dbt failed: {reason_of(errors[0])}",
                metadata={"dbt": work, "log": dg.MetadataValue.md(strangers.block(errors[0]))},
                allow_retries=False,
            )


@contextmanager
def _in_zone(calendar: Calendar | None) -> Iterator[None]:
    """dbt, which is begun within, has days of this calendar's zone. A process takes its settings from the environment."""
    name, before = "ASGARD_TIME_ZONE", os.environ.get("ASGARD_TIME_ZONE")
    if calendar is None or str(calendar.zone) == Settings().time_zone:
        yield
        return
    os.environ[name] = str(calendar.zone)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _address(node: Mapping[str, Any]) -> tuple[str, str]:
    """Where its table lies, in the one spelling that DuckDB takes all for."""
    return node["schema"].lower(), (node.get("alias") or node.get("identifier") or node["name"]).lower()


def selector(node: Mapping[str, Any]) -> str:
    """dbt's word for this node alone.

    A plain `fqn:shop.orders` also selects all under a folder `orders`, a pattern is matched to its end. Blanks,
    and commas, would end the word: any character stands for them.
    """
    name = re.sub(r"[^\w.-]", "?", ".".join(node["fqn"]))
    return f"fqn:{name[:-1]}[{name[-1]}]" if re.fullmatch(r"\w", name[-1]) else f"fqn:{name[:-1]}?"


def reason_of(text: str) -> str:
    """What dbt itself says, without dagster-dbt's account of the process around it."""
    said = _COLOURS.sub("", text).rpartition("Errors parsed from dbt logs:")[2]
    return " ".join(said.split())[:4000]


def _for(context: dg.AssetExecutionContext) -> str:
    """` for 2026-10-05` or ` for 2026-10-05 to 2026-11-01`; nothing where the models are a whole."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return ""
    days = days_of(context)
    return f" for {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def work_folder() -> Path:
    """Where dbt commands have their target folders."""
    work = Settings().home.absolute() / "dbt"
    work.mkdir(parents=True, exist_ok=True)
    return work


def report_of(target: Path) -> Mapping[str, Any]:
    """What the delta adapter published; nothing where dbt ended before its last hook, or with another adapter."""
    path = target / REPORT
    return json.loads(path.read_bytes()) if path.is_file() else {}
