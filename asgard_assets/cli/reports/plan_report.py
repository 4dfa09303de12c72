"""A plan in words: text for a terminal, Markdown for a pull request, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from asgard_assets import strangers
from asgard_assets.operations.partitions import shown
from asgard_assets.operations.plan import AssetPlan, RunPlan

_COLUMNS = (
    "asset",
    "partitions",
    "files",
    "size",
    "requests",
    "rows",
    "time",
    "compute",
    "storage/month",
    "measured",
)


def as_json(plan: RunPlan, broken: Sequence[str]) -> str:
    """Everything that the plan holds, its totals, and the limits that it breaks. Unknown figures are null."""
    totals = {name: plan.total(name) for name in ("files", "bytes", "requests", "rows", "seconds", "compute_cost", "storage_cost_per_month")}  # fmt: skip
    return json.dumps(asdict(plan) | {"totals": totals, "over_budget": list(broken)}, indent=1)


def as_text(plan: RunPlan, broken: Sequence[str]) -> str:
    """A table, then what would change and what is touched downstream."""
    rows = [_COLUMNS, *(_cells(asset) for asset in plan.assets), _total(plan)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "", *_remarks(plan, broken, "")])


def as_markdown(plan: RunPlan, broken: Sequence[str]) -> str:
    """The same as a comment for a pull request."""
    head = "## Plan: " + ("over budget" if broken else "within budget")
    rows = [*(_cells(asset) for asset in plan.assets), _total(plan)]
    remarks = [f"- {strangers.inline(line)}" for line in _remarks(plan, broken, "")]
    return "\n".join([head, "", strangers.table(_COLUMNS, rows), "", *remarks])


def _remarks(plan: RunPlan, broken: Sequence[str], bullet: str) -> list[str]:
    lines = []
    for asset in plan.assets:
        for change in asset.schema:
            types = " → ".join(filter(None, (change.before, change.after)))
            lines.append(f"{bullet}{asset.asset}: {change.kind} {change.column} {types}".rstrip())
        lines += [f"{bullet}{asset.asset}: {note}" for note in asset.notes]
    for asset, days in plan.downstream.items():
        lines.append(f"{bullet}downstream {asset}: {shown(days) if days else 'the whole table'}")
    lines.append(
        f"{bullet}rates: {plan.cost_per_dbu_hour:g} per DBU hour, {plan.dbu_per_hour:g} DBU an hour, "
        f"{plan.storage_cost_per_gb:g} per GB and month; times and rows as past runs had them"
    )
    return lines + [f"{bullet}OVER BUDGET: {sentence}" for sentence in broken]


def _cells(asset: AssetPlan) -> tuple[str, ...]:
    measured = f"{asset.measured_runs} runs ±{asset.error:.0%}" if asset.measured_runs else "never"
    if asset.sampled_files:
        measured = f"sample of {asset.sampled_files} files"
    nothing = asset.seconds == 0.0 and not asset.partitions and not asset.measured_runs
    return (
        asset.asset,
        shown(asset.partitions) if asset.partitions else "-",
        _count(asset.files),
        _size(asset.bytes),
        _count(asset.requests),
        _count(asset.rows),
        _time(asset.seconds),
        _money(asset.compute_cost),
        _money(asset.storage_cost_per_month),
        "nothing to do" if nothing else measured,
    )


def _total(plan: RunPlan) -> tuple[str, ...]:
    def total(name: str) -> float | None:
        return plan.total(name)

    return (
        "total",
        str(sum(len(asset.partitions) for asset in plan.assets)),
        _count(total("files")),
        _size(total("bytes")),
        _count(total("requests")),
        _count(total("rows")),
        _time(total("seconds")),
        _money(total("compute_cost")),
        _money(total("storage_cost_per_month")),
        "",
    )


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _size(value: float | None) -> str:
    if value is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _time(value: float | None) -> str:
    if value is None:
        return "?"
    return (
        f"{value:.0f} s"
        if value < 120
        else f"{value / 60:.0f} min"
        if value < 7200
        else f"{value / 3600:.1f} h"
    )


def _money(value: float | None) -> str:
    return "?" if value is None else f"{value:.4f}" if value < 1 else f"{value:,.2f}"
