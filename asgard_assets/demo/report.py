"""The demo's closing tables: what was made, and the first predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.lake import Lake
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console


@dataclass
class TableLine:
    """What the closing table says of one asset."""

    stage: str
    table: str
    partitions: int = 0
    rows: int = 0
    seconds: float = 0.0
    checks: int = 0
    checks_passed: int = 0
    by_partition: dict[str, int] = field(default_factory=dict)


def collect(instance: dg.DagsterInstance, settings: Settings) -> list[TableLine]:
    """Figures per asset from the runs since the last demo, added to those of earlier demos."""

    store = settings.home / "demo.json"
    saved = json.loads(store.read_text()) if store.exists() else {"runs": [], "lines": {}}
    lines = {key: TableLine(**line) for key, line in saved["lines"].items()}
    seen = set(saved["runs"])
    checks: dict[str, dict[str, bool]] = {}
    for record in instance.get_run_records(ascending=True):
        run_id = record.dagster_run.run_id
        if run_id in seen or not record.dagster_run.is_finished:
            continue
        seen.add(run_id)
        starts: dict[str, float] = {}
        for entry in instance.all_logs(run_id):
            event = entry.dagster_event
            if event is None:
                continue
            if event.is_step_start:
                starts[entry.step_key or ""] = entry.timestamp
            elif event.is_step_materialization:
                found = event.step_materialization_data.materialization
                line = _line(lines, found.asset_key)
                line.by_partition[found.partition or ""] = _rows(found.metadata)
                line.seconds = round(entry.timestamp - starts.get(entry.step_key or "", entry.timestamp), 1)
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                result = event.asset_check_evaluation_data
                checks.setdefault(result.asset_key.to_user_string(), {})[result.check_name] = result.passed
                _line(lines, result.asset_key)
    for key, line in lines.items():
        line.partitions, line.rows = len(line.by_partition), sum(line.by_partition.values())
        if key in checks:
            line.checks, line.checks_passed = len(checks[key]), sum(checks[key].values())
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps({"runs": sorted(seen), "lines": {k: asdict(v) for k, v in lines.items()}}))
    return list(lines.values())


def _line(lines: dict[str, TableLine], key: Any) -> TableLine:
    return lines.setdefault(key.to_user_string(), TableLine(key.path[0], "/".join(key.path[1:])))


def _rows(metadata: Mapping[str, Any]) -> int:
    for name in ("dagster/partition_row_count", "dagster/row_count", "records"):
        if name in metadata:
            return int(metadata[name].value)
    return 0


def print_tables(console: Console, lines: Sequence[TableLine]) -> None:
    from rich.table import Table

    order = ("airbyte", "bronze", "silver", "rejected", "gold", "features", "model")
    table = Table(title="Asgard demo: customer churn")
    for heading, justify in (
        ("stage", "left"),
        ("table", "left"),
        ("partitions", "right"),
        ("rows", "right"),
        ("seconds", "right"),
        ("checks passed", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for line in sorted(
        lines, key=lambda one: (order.index(one.stage) if one.stage in order else 99, one.table)
    ):
        passed = f"{line.checks_passed}/{line.checks}" if line.checks else ""
        table.add_row(
            line.stage, line.table, str(line.partitions), f"{line.rows:,}", f"{line.seconds:.1f}", passed
        )
    console.print(table)


def print_predictions(console: Console, lake: Lake) -> None:
    from rich.table import Table

    if lake.table("model", "churn_predictions") is None:
        return
    with lake.connect() as connection:
        found = connection.execute(
            """select p.ds, p.customer_id, c.name, p.churn_probability, p.model_version
            from model.churn_predictions p
            left join (select customer_id, arg_max(name, ds) as name from silver.customers group by 1) c
            using (customer_id)
            where p.ds = (select max(ds) from model.churn_predictions)
            order by p.churn_probability desc limit 5"""
        ).fetchall()
    table = Table(
        title=f"Customers most likely to leave within 7 days of {found[0][0]}" if found else "No predictions"
    )
    for heading in ("customer", "name", "probability", "model"):
        table.add_column(heading)
    for _, customer, name, probability, model in found:
        table.add_row(str(customer), name, f"{probability:.2f}", f"version {model}")
    console.print(table)
