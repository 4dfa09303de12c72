"""Grafana's dashboards, made by `python -m deployments.monitoring.dashboards` into the folder beside this file.

Import the JSON files in Grafana (Dashboards, New, Import), or let it provision them from the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
_WIDTH = 24


@dataclass(frozen=True)
class Panel:
    """One picture: a query of Prometheus with the label that names its lines."""

    title: str
    query: str
    legend: str = ""
    unit: str = "short"
    text: str = ""
    single: bool = False
    """A number of now instead of lines over time."""


@dataclass(frozen=True)
class Board:
    uid: str
    title: str
    rows: dict[str, tuple[Panel, ...]]


BOARDS = (
    Board("asgard-runs", "Asgard: runs and tables", {
        "Now": (
            Panel("Runs at work", 'sum(asgard_runs{state=~"starting|started|canceling"})', single=True),
            Panel("Runs waiting", "asgard_queue_depth", single=True),
            Panel("Failed within a day", 'sum(increase(asgard_asset_runs_total{state="failure"}[1d]))', single=True),
            Panel("Unread figures", "sum(asgard_metrics_unread)", single=True,
                  text="Parts of these figures that cannot be read: the log of whoever serves them says why."),
        ),
        "Runs": (
            Panel("Ended runs", "sum by (state) (increase(asgard_asset_runs_total[$__rate_interval]))", "{{state}}"),
            Panel("Success of the last hour", "asgard:asset_success_ratio:1h", "{{asset}}", "percentunit"),
            Panel("Duration, 95 % of runs", "asgard:run_seconds:p95", "all", "s"),
            Panel("Wait for a turn, 95 % of runs",
                  "histogram_quantile(0.95, sum by (le) (rate(asgard_run_waited_seconds_bucket[1h])))", "all", "s"),
        ),
        "What runs use": (
            Panel("CPU seconds", "sum by (asset) (increase(asgard_asset_cpu_seconds_total[$__rate_interval]))", "{{asset}}", "s"),
            Panel("Memory of the last run", "asgard_asset_memory_bytes", "{{asset}}", "bytes"),
            Panel("Seconds of steps", "sum by (asset) (increase(asgard_asset_seconds_total[$__rate_interval]))", "{{asset}}", "s"),
            Panel("Bytes written", "sum by (asset) (increase(asgard_asset_bytes_total[$__rate_interval]))", "{{asset}}", "bytes"),
        ),
        "Tables": (
            Panel("Age", "asgard:table_age_seconds", "{{table}}", "s"),
            Panel("Rows", "asgard_table_rows", "{{table}}"),
            Panel("Size", "asgard_table_bytes", "{{table}}", "bytes"),
            Panel("Files", "asgard_table_files", "{{table}}", text="Many small files: compact the table (docs/operations.md)."),
        ),
    }),
    Board("asgard-streams", "Asgard: APIs and streams", {
        "Streams": (
            Panel("Lag", "asgard:stream_lag_records", "{{table}}", text="Records of the topic that the table has not."),
            Panel("Offsets per second", "sum by (table) (rate(asgard_stream_offset_total[$__rate_interval]))", "{{table}}", "rps"),
            Panel("Rows per second", "asgard:asset_rows:rate5m", "{{asset}}", "rps"),
            Panel("In quarantine", "asgard_quarantine_rows", "{{table}}"),
            Panel("Rejected by Silver", "asgard_rejected_rows", "{{table}}"),
        ),
        "APIs": (
            Panel("Requests per second", "sum by (asset) (rate(asgard_asset_requests_total[$__rate_interval]))", "{{asset}}", "reqps"),
            Panel("Rate of the last run", "asgard_asset_requests_per_second", "{{asset}}", "reqps"),
            Panel("Sent again", "sum by (asset) (increase(asgard_asset_request_retries_total[$__rate_interval]))", "{{asset}}"),
            Panel("Throttled", "sum by (asset) (increase(asgard_asset_request_throttles_total[$__rate_interval]))", "{{asset}}"),
            Panel("Rows by outcome", "sum by (outcome) (increase(asgard_asset_request_outcomes_total[$__rate_interval]))", "{{outcome}}"),
        ),
        "Databases and SQL": (
            Panel("Log held by slots", "asgard_replication_slot_held_bytes", "{{database}} {{slot}}", "bytes"),
            Panel("Slots that are read", "asgard_replication_slot_active", "{{database}} {{slot}}"),
            Panel("Transforms", "asgard_transforms", "{{state}}"),
        ),
    }),
)  # fmt: skip


def built(board: Board) -> str:
    """The board as Grafana's JSON."""
    from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    found = (
        Dashboard(board.title)
        .uid(board.uid)
        .tags(["asgard"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for title, panels in board.rows.items():
        found = found.with_row(Row(title))
        for panel in panels:
            found = found.with_panel(_panel(panel, max(_WIDTH // len(panels), 6)))
    return JSONEncoder(sort_keys=True, indent=2).encode(found.build()) + "\n"


def _panel(panel: Panel, width: int) -> Any:
    from grafana_foundation_sdk.builders import stat, timeseries
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    source = DataSourceRef(type_val="prometheus", uid="$source")
    query = (
        Dataquery().expr(panel.query).legend_format(panel.legend or "__auto").ref_id("A").datasource(source)
    )
    made = stat.Panel() if panel.single else timeseries.Panel()
    made = made.title(panel.title).unit(panel.unit).datasource(source).with_target(query)
    return made.description(panel.text).span(width).height(4 if panel.single else 8)


def files() -> dict[Path, str]:
    """What the folder holds."""
    return {FOLDER / f"{board.uid}.json": built(board) for board in BOARDS}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
