"""The demo's steps: what is missing in Dagster's history, and `dagster asset materialize` for it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from asgard_assets import project
from asgard_assets.demo.interrupts import Interrupted, presses
from asgard_assets.demo.sources import FIRST_DAY, LAST_DAY
from asgard_assets.errors import AsgardError
from asgard_assets.windows import days_between

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

CUT_OFFS = ("2026-10-12", "2026-10-19", "2026-10-26")


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


def missing_steps(instance: dg.DagsterInstance) -> list[Step]:
    """What is still to do: per group of assets, the partitions that Dagster's history lacks."""
    from asgard_assets.components.partitions import daily, weekly

    loaded = project.current().definitions()
    ours = loaded.resolve_asset_graph().materializable_asset_keys
    specs = [s for s in loaded.resolve_all_asset_specs() if s.key in ours]
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


def run_step(step: Step, instance: dg.DagsterInstance) -> None:
    """`dagster asset materialize` in this process. Raises AsgardError, with each failed asset's reason."""
    main = next(iter(entry_points(group="console_scripts", name="dagster"))).load()
    quiet = json.dumps({"loggers": {"console": {"config": {"log_level": "ERROR"}}}})
    before = sys.argv
    sys.argv = ["dagster", "asset", "materialize", "-m", "asgard_assets.definitions", *step.arguments]
    sys.argv += ["--config-json", quiet]
    try:
        with presses() as pressed:
            try:
                main()
            except SystemExit as ended:
                if ended.code and pressed():
                    raise Interrupted(step.title) from ended
                raise
    except SystemExit as ended:
        if ended.code:
            reasons = "\n".join(_failures(instance)) or "see logs/demo.log in the home folder"
            raise AsgardError(f"{step.title} failed; `make dev` shows the run.\n{reasons}") from ended
    finally:
        sys.argv = before


def _failures(instance: dg.DagsterInstance) -> Iterator[str]:
    """The newest run's failed steps, each with its innermost reason."""
    newest = instance.get_run_records(limit=1)
    for entry in instance.all_logs(newest[0].dagster_run.run_id) if newest else []:
        event = entry.dagster_event
        if event is None or not event.is_step_failure:
            continue
        failure = event.step_failure_data
        error = failure.error
        while error and error.cause:
            error = error.cause
        said = failure.user_failure_data.description if failure.user_failure_data else None
        yield f"  {readable(entry.step_key or '')}: {said or (error.message.strip() if error else 'unknown')}"


@contextmanager
def progress(console: Console, instance: dg.DagsterInstance, title: str) -> Iterator[None]:
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
                            f"  {mark} {readable(entry.step_key)} [dim]{seconds:.1f} s[/]", highlight=False
                        )
                shown = len(events)
                now = ", ".join(readable(key) for key in running) or "starting"
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


def readable(step_key: str) -> str:
    """A step's key as the asset that it makes."""
    return step_key.replace("__", "/")
