"""`asgard cost` for a person and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from asgard_assets.cli.options import Output
from asgard_assets.cli.terminal import console, print_json
from asgard_assets.operations.costs.figures import Cost

_HEAD = ("", "runs", "requests", "MB", "seconds", "CPU s", "Spark h", "money")


def show(lines: Sequence[Cost], by: str, output: Output) -> None:
    """One line for each, and their sum."""
    if output is Output.json:
        print_json([{**asdict(line), "started_at": line.started_at.isoformat()} for line in lines])
        return
    if not lines:
        console.print("no run of a table is known of this month")
        return
    cells = [_HEAD, *(_cells(_name(line, by), [line]) for line in lines), _cells("all", lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    for row in cells:
        first, *others = (cell for cell in row)
        figures = "  ".join(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        console.print(f"{first.ljust(widths[0])}  {figures}", highlight=False)


def _name(line: Cost, by: str) -> str:
    return {"run": f"{line.run_id} {line.table}", "table": line.table, "owner": line.owner}[by]


def _cells(name: str, lines: Sequence[Cost]) -> tuple[str, ...]:
    def total(field: str) -> float:
        return sum(getattr(line, field) for line in lines)

    return (
        name, f"{total('runs'):,}", f"{total('requests'):,}", f"{total('bytes') / 1e6:,.1f}", f"{total('seconds'):,.1f}",
        f"{total('cpu_seconds'):,.1f}", f"{total('spark_hours'):,.3f}", f"{total('money'):,.4f}",
    )  # fmt: skip
