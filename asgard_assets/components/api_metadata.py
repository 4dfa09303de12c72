"""What an API asset shows of a run in Dagster's UI."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from asgard_assets import strangers

if TYPE_CHECKING:
    from asgard_assets.ingest.api.table.figures import Summary

_BARS = 60


def metadata(summary: Summary) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "requests": summary.requests,
        "retries": summary.retries,
        "throttles": summary.throttles,
        "unchanged_rows": summary.unchanged,
        "response_bytes": summary.bytes,
        "seconds": round(summary.seconds, 2),
        "requests_per_second": round(summary.requests_per_second, 1),
        "max_in_flight": summary.max_in_flight,
        "carried_rows": sum(summary.carried.values()),
        "ran_in": f"{summary.ran_in}: {summary.why}",
        "spark_tasks": 0 if summary.ran_in == "process" else len(summary.workers),
    }
    if summary.notes:
        shown["notes"] = dg.MetadataValue.md(
            "\n".join(f"- {strangers.inline(note)}" for note in summary.notes)
        )
    if summary.waits:
        shown["waits_the_api_asked_for"] = dg.MetadataValue.md(table(summary.waits))
    if summary.pagination:
        shown["pagination"] = summary.pagination
    if summary.duplicates:
        shown["repeated_items_left_out"] = sum(summary.duplicates.values())
    if summary.cursor is not None:
        shown["cursor"] = str(summary.cursor)
    if summary.drift:
        shown["schema_drift"] = dg.MetadataValue.json(dict(summary.drift))
    if summary.pace:
        shown["throughput"] = dg.MetadataValue.md(throughput(summary.pace))
    if summary.hosts:
        shown["slowest_hosts"] = dg.MetadataValue.md(table([asdict(host) for host in summary.hosts]))
    if summary.failures:
        shown["failed_requests"] = dg.MetadataValue.md(table(summary.failures))
    return shown


def throughput(pace: Mapping[int, int]) -> str:
    """Requests per second over time, as a picture in Markdown; SVG, for no plot library is where steps run."""
    first, last = min(pace), max(pace)
    width = max(1, -(-(last - first + 1) // _BARS))
    bars: dict[int, int] = {}
    for second, requests in pace.items():
        bar = (second - first) // width
        bars[bar] = bars.get(bar, 0) + requests
    most = max(bars.values()) or 1
    drawn = "".join(
        f'<rect x="{8 * bar}" y="{100 - 100 * requests / most:.1f}" width="7" height="{100 * requests / most:.1f}"/>'
        for bar, requests in sorted(bars.items())
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{8 * (max(bars) + 1)}" height="100" fill="#2458a6">'
        f"{drawn}</svg>"
    )
    picture = f"![requests per second](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
    return f"at most {most / width:,.0f} requests/s, over {last - first + 1:,} s\n\n{picture}"


def day_metadata(summary: Summary) -> dict[str, dict[str, Any]]:
    return {
        day: {
            **{f"rows_{outcome}": rows for outcome, rows in sorted(summary.outcomes.get(day, {}).items())},
            "mode": mode,
        }
        for day, mode in summary.modes.items()
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; all have the keys of the first."""
    names = list(rows[0])
    return strangers.table(names, ([row.get(name, "") for name in names] for row in rows))
