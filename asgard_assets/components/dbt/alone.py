"""Tests and freshness of sources by themselves: dbt looks at what is published, and builds nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliInvocation, DbtCliResource
from dagster_dbt.asset_utils import DAGSTER_DBT_UNIQUE_ID_METADATA_KEY

from asgard_assets.components.dbt.checks import with_rows
from asgard_assets.components.dbt.run import reason_of, report_of, selector, work_folder

FRESHNESS = "dbt_source_freshness"
_TOLD = ("status", "max_loaded_at", "snapshotted_at", "max_loaded_at_time_ago_in_s", "error")
_ENDED = {"pass": "is fresh", "warn": "is late", "error": "is too old", "runtime error": "could not be read"}


@dataclass(frozen=True)
class Alone:
    """`given` are the arguments of each command, such as `--vars`."""

    dbt: DbtCliResource
    translator: DagsterDbtTranslator
    manifest: Mapping[str, Any]
    given: Sequence[str]

    def test(self, checks: Sequence[dg.AssetCheckSpec]) -> Iterator[dg.AssetCheckResult]:
        """Run the tests behind these checks. Raises dg.Failure where dbt could not run them."""
        if not checks:
            return
        ids = [str(check.metadata[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY]) for check in checks]
        chosen = " ".join(selector(self.manifest["nodes"][unique_id]) for unique_id in ids)
        with tempfile.TemporaryDirectory(dir=work_folder()) as target:
            run = self._command(["test", "--select", chosen], Path(target))
            events = [event for event in run.stream() if isinstance(event, dg.AssetCheckEvaluation)]
            error, found = run.get_error(), report_of(Path(target)).get("found", {})
        wanted = {check.key for check in checks}
        told = [e for e in events if dg.AssetCheckKey(e.asset_key, e.check_name) in wanted]
        for event in told:
            yield dg.AssetCheckResult(
                passed=event.passed,
                asset_key=event.asset_key,
                check_name=event.check_name,
                severity=event.severity,
                metadata=with_rows(event.metadata, found.get(str(event.metadata["unique_id"].value))),
            )
        if error and len(told) < len(checks):
            raise dg.Failure(f"dbt failed: {reason_of(str(error))}", allow_retries=False)

    def freshness(self, checks: Mapping[str, dg.AssetCheckSpec]) -> Iterator[dg.AssetCheckResult]:
        """Run `dbt source freshness` for these sources. Raises dg.Failure where dbt could not run."""
        if not checks:
            return
        nodes = self.manifest["sources"]
        chosen = " ".join(f"source:{nodes[u]['source_name']}.{nodes[u]['name']}" for u in checks)
        with tempfile.TemporaryDirectory(dir=work_folder()) as target:
            run = self._command(["source", "freshness", "--select", chosen], Path(target))
            run.wait()
            answers = Path(target, "sources.json")
            found = json.loads(answers.read_bytes())["results"] if answers.is_file() else []
            error = run.get_error()
        told = {answer["unique_id"]: answer for answer in found if answer["unique_id"] in checks}
        if not told:
            raise dg.Failure(f"dbt failed: {reason_of(str(error))}", allow_retries=False)
        for unique_id, check in checks.items():
            # dbt leaves out a source that it could not read.
            answer = told.get(unique_id) or {"status": "runtime error", "error": reason_of(str(error))}
            status = answer["status"]
            yield dg.AssetCheckResult(
                passed=status == "pass",
                asset_key=check.asset_key,
                check_name=FRESHNESS,
                severity=dg.AssetCheckSeverity.WARN if status == "warn" else dg.AssetCheckSeverity.ERROR,
                description=f"{nodes[unique_id]['name']} {_ENDED.get(status, status)}",
                metadata={name: answer[name] for name in _TOLD if answer.get(name) is not None},
            )

    def _command(self, args: Sequence[str], target: Path) -> DbtCliInvocation:
        return self.dbt.cli(
            [*args, "--no-version-check", *self.given],
            manifest=self.manifest,
            dagster_dbt_translator=self.translator,
            raise_on_error=False,
            target_path=target,
        )
