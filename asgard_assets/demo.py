"""The demo: its sources, its steps, and the table it prints.

Every step is `dagster asset materialize …`, called in this process so that all of them share one Spark
session. A step asks only for what Dagster's history does not have yet: a second demo finds nothing to do, and
one that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from asgard_assets.errors import AsgardError, SourceError
from asgard_assets.lake import Lake, days_between
from asgard_assets.settings import ROOT, Settings

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

log = logging.getLogger(__name__)

FIRST_DAY, LAST_DAY = "2026-10-05", "2026-11-01"
CUT_OFFS = ("2026-10-12", "2026-10-19", "2026-10-26")
USERS = 800


@dataclass(frozen=True)
class Step:
    """One call of `dagster asset materialize`. `partitions`: none, one key, or a range's first and last."""

    title: str
    assets: tuple[str, ...]
    partitions: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        selected = ["--select", ",".join(f'key:"{asset}"' for asset in self.assets)]
        if not self.partitions:
            return selected
        if len(self.partitions) == 1:
            return [*selected, "--partition", self.partitions[0]]
        return [*selected, "--partition-range", f"{self.partitions[0]}...{self.partitions[-1]}"]


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


# Sources -------------------------------------------------------------------------------------------------


@contextmanager
def demo_sources(settings: Settings) -> Iterator[None]:
    """The demo API and the local Airbyte server, on loopback; stopped at the end.

    Servers that answer at these addresses already are used as they are. Raises SourceError where one does
    not come up.
    """
    home = settings.home.absolute()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    parent = ["--parent", str(os.getpid())]
    api = ["deployments.local.demo.api", "--port", _port(settings.demo_api_url), "--users", str(USERS)]
    api += ["--log", str(home / "logs" / "demo-api-requests.jsonl")]
    airbyte = ["deployments.local.airbyte.server", "--port", _port(settings.airbyte_url)]
    airbyte += [
        "--landing",
        f"{settings.landing_root}/airbyte",
        "--state",
        str(home / "airbyte"),
        "--date",
        FIRST_DAY,
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, url, arguments in (
            ("demo API", f"{settings.demo_api_url}/health", api),
            ("local Airbyte", f"{settings.airbyte_url}/health", airbyte),
        ):
            if _answers(url):
                continue
            log_file = home / "logs" / f"{name.replace(' ', '-').lower()}.log"
            with log_file.open("ab") as output:
                server = subprocess.Popen(
                    [sys.executable, "-m", *arguments, *parent], cwd=ROOT, stdout=output, stderr=output
                )
            started.append(server)
            _wait_until_up(name, url, server, log_file)
        yield
    finally:
        for server in started:
            server.terminate()
        for server in started:
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def write_landing_files(settings: Settings) -> None:
    """Write the demo's CSV and JSON files; files that are there already stay untouched."""
    command = [sys.executable, "-m", "deployments.local.demo.landing", "--days", f"{FIRST_DAY}..{LAST_DAY}"]
    done = subprocess.run(
        [*command, "--root", settings.landing_root], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SourceError(
            f"the demo's landing files could not be written:\n{done.stderr.strip()}", source="landing"
        )


def _port(url: str) -> str:
    return str(urlparse(url).port or 80)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _wait_until_up(name: str, url: str, server: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + 30
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(log_file.read_text(errors="replace").splitlines()[-5:])
            raise SourceError(
                f"the {name} did not start at {url}; {log_file} ends with:\n{said}", source=name
            )
        time.sleep(0.1)


# Steps ---------------------------------------------------------------------------------------------------


def missing_steps(instance: dg.DagsterInstance) -> list[Step]:
    """What is still to do: per group of assets, the partitions that Dagster's history lacks."""

    from asgard_assets.components.partitions import daily, weekly
    from asgard_assets.definitions import defs

    specs = defs().resolve_all_asset_specs()
    synced = [s for s in specs if s.partitions_def is None and s.key.path[0] == "airbyte"]
    latest = [s for s in specs if s.partitions_def is None and s.key.path[0] == "features"]
    by_day = [s for s in specs if s.partitions_def == daily()]
    by_week = [s for s in specs if s.partitions_def == weekly()]
    scores = [s for s in by_day if s.key.path[0] == "model"]
    tables = [s for s in by_day if s.key.path[0] != "model"]

    def name(group: Sequence[dg.AssetSpec]) -> tuple[str, ...]:
        return tuple(sorted(s.key.to_user_string() for s in group))

    def never(group: Sequence[dg.AssetSpec]) -> list[dg.AssetSpec]:
        return [s for s in group if instance.get_latest_materialization_event(s.key) is None]

    def lacking(group: Sequence[dg.AssetSpec], keys: Sequence[str]) -> tuple[list[dg.AssetSpec], list[str]]:
        gaps = {s.key: set(keys) - instance.get_materialized_partitions(s.key) for s in group}
        wanted = sorted(set().union(*gaps.values())) if gaps else []
        return [s for s in group if gaps[s.key]], wanted

    def ranged(title: str, group: Sequence[dg.AssetSpec]) -> list[Step]:
        assets, days = lacking(group, days_between(FIRST_DAY, LAST_DAY))
        return (
            [Step(title, name(assets), (days[0], days[-1]) if len(days) > 1 else (days[0],))] if days else []
        )

    steps = [Step("sync the Airbyte connection", name(never(synced)))] if never(synced) else []
    daily_steps = ranged("Bronze, Silver, Gold and features of 28 days", tables)
    steps += daily_steps
    if never(latest) or daily_steps:
        steps.append(Step("online store", name(latest)))
    weeks = lacking(by_week, CUT_OFFS)[1]
    steps += [Step(f"train the model of the week of {week}", name(by_week), (week,)) for week in weeks]
    return steps + ranged("predictions of 28 days", scores)


def run_step(step: Step) -> None:
    """`dagster asset materialize` in this process. Raises AsgardError where the run did not succeed."""
    main = next(iter(entry_points(group="console_scripts", name="dagster"))).load()
    quiet = json.dumps({"loggers": {"console": {"config": {"log_level": "ERROR"}}}})
    before = sys.argv
    sys.argv = ["dagster", "asset", "materialize", "-m", "asgard_assets.definitions", *step.arguments]
    sys.argv += ["--config-json", quiet]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise AsgardError(f"{step.title}: the run failed; `make dev` shows it under Runs") from ended
    finally:
        sys.argv = before


def run_demo(console: Console, settings: Settings) -> None:
    """Run what is missing, then print tables, predictions and what to try next."""
    import dagster as dg

    started = time.monotonic()
    with dg.DagsterInstance.get() as instance:
        steps = missing_steps(instance)
        if steps:
            with demo_sources(settings):
                write_landing_files(settings)
                for number, step in enumerate(steps, 1):
                    # A run must see what earlier runs made, and nothing of it is cached in this process.
                    with _progress(console, instance, f"[{number}/{len(steps)}] {step.title}"):
                        run_step(step)
        else:
            console.print("Everything is materialized: 0 requests sent, 0 tables written.")
        lines = _collect(instance, settings)
    _print_tables(console, lines)
    _print_predictions(console, Lake.from_settings(settings))
    console.print(f"\n[bold]{time.monotonic() - started:.0f} s.[/] Next:")
    console.print("  make dev     the Dagster UI on this data, http://127.0.0.1:3000")
    console.print("  make test    the tests")
    console.print("  README.md    add a source, a Silver table, a Gold model, a feature view, a model")


@contextmanager
def _progress(console: Console, instance: dg.DagsterInstance, title: str) -> Iterator[None]:
    """Show which assets are being made and for how long; one line each where there is no terminal."""
    done = threading.Event()
    began = time.monotonic()
    known = {record.dagster_run.run_id for record in instance.get_run_records(limit=50)}

    def watch() -> None:
        shown = 0
        running: dict[str, float] = {}
        with console.status(title) as status:
            while True:
                finished = done.wait(1.0)
                runs = [r for r in instance.get_run_records(limit=3) if r.dagster_run.run_id not in known]
                events = instance.all_logs(runs[0].dagster_run.run_id) if runs else []
                for entry in events[shown:]:
                    event = entry.dagster_event
                    if event is None or entry.step_key is None:
                        continue
                    if event.is_step_start:
                        running[entry.step_key] = entry.timestamp
                    elif event.is_step_success or event.is_step_failure:
                        seconds = entry.timestamp - running.pop(entry.step_key, entry.timestamp)
                        mark = "[green]✓[/]" if event.is_step_success else "[red]✗[/]"
                        console.print(
                            f"  {mark} {_readable(entry.step_key)} [dim]{seconds:.1f} s[/]", highlight=False
                        )
                shown = len(events)
                now = ", ".join(_readable(key) for key in running) or "starting"
                status.update(f"{title}: {now} [dim]{time.monotonic() - began:.0f} s[/]")
                if finished:
                    return

    console.print(f"[bold]{title}[/]")
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _readable(step_key: str) -> str:
    return step_key.replace("__", "/")


# The closing table ---------------------------------------------------------------------------------------


def _collect(instance: dg.DagsterInstance, settings: Settings) -> list[TableLine]:
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


def _rows(metadata: dict[str, Any]) -> int:
    for name in ("dagster/partition_row_count", "dagster/row_count", "records"):
        if name in metadata:
            return int(metadata[name].value)
    return 0


def _print_tables(console: Console, lines: Sequence[TableLine]) -> None:
    from rich.table import Table

    order = ("airbyte", "bronze", "silver", "gold", "features", "model")
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


def _print_predictions(console: Console, lake: Lake) -> None:
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
