"""`asgard plan` and the operations on file sources: state, backlog, pause, refresh, backfill, retry, repair, clean."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.console import Console

from asgard_assets.errors import ConfigError
from asgard_assets.windows import parse_day, parse_days

if TYPE_CHECKING:
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.source.models import FileSource
    from asgard_assets.lake import Lake

console = Console(highlight=False, markup=False, soft_wrap=True)

Name = Annotated[str, typer.Argument(help="Name of the file source.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Days = Annotated[
    str, typer.Option(help="A day, or a range 2026-10-05...2026-10-11; default: all pending files.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Look before, look after")(plan)
    for command in (files, backlog, pause, resume, retry, refresh, backfill, repair, clean, receive):
        app.command(rich_help_panel="File sources, by name")(command)


def preview(name: str, rows: int, output: str) -> None:
    """Rows as the loader would make them, their schema, and what that changes in the table. Writes nothing.

    Of the files that wait to be loaded, or of those that lie there where none waits.
    """
    from asgard_assets.cli.preview_report import REPORTS
    from asgard_assets.ingest.files.landing.area import walk
    from asgard_assets.ingest.files.plan.listing import chosen, scan
    from asgard_assets.operations.preview import preview as previewed

    _known_output(output)
    lake, landing, source = _source(name)
    todo = scan(lake, landing, source, full=True, max_files=10_000).todo
    found = [file for each in todo.values() for file in each]
    waiting = bool(found)
    if not found:
        found = [f for f in islice(walk(landing, source), 10_000) if chosen(source, f.path)]
    typer.echo(REPORTS[output](previewed(lake, landing, source, found, rows), name, waiting))


def _known_output(output: str) -> None:
    if output not in ("text", "json", "markdown"):
        raise ConfigError(f"--output {output}: there are text, json and markdown")


def plan(
    selection: Annotated[
        str, typer.Argument(help='Assets, as Dagster selects them: "bronze/invoices", "group:silver".')
    ],
    partitions: Days = "",
    output: Annotated[str, typer.Option(help="text, json or markdown.")] = "text",
    max_cost: Annotated[float | None, typer.Option(help="Highest compute cost.")] = None,
    max_files: Annotated[int | None, typer.Option(help="Most files to read.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Most bytes to read.")] = None,
    max_requests: Annotated[int | None, typer.Option(help="Most requests to send.")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Longest time that the runs take, one after the other.")
    ] = None,
    max_partitions: Annotated[
        int | None, typer.Option(help="Most partitions, including downstream ones.")
    ] = None,
) -> None:
    """Show what a run would read and cost, how long it takes, and which tables depend on it. Exit code 2 if over budget."""
    from asgard_assets.cli import plan_report
    from asgard_assets.operations.plan import PlanBudget, make_plan

    _known_output(output)
    share_history()
    made = make_plan(selected(selection), (parse_days(partitions) if partitions else []))
    broken = PlanBudget(max_cost, max_files, max_bytes, max_requests, max_seconds, max_partitions).broken(
        made
    )
    report = {"text": plan_report.as_text, "json": plan_report.as_json, "markdown": plan_report.as_markdown}
    typer.echo(report[output](made, broken))
    if broken:
        raise typer.Exit(2)


def files(
    name: Name,
    state: Annotated[
        list[str] | None, typer.Option(help="pending, loaded, changed, deleted or failed; can be repeated.")
    ] = None,
    ds: Annotated[str, typer.Option(help="Only files of this day.")] = "",
    limit: Annotated[int, typer.Option(help="Show at most this many; the total counts all.")] = 1000,
    as_json: Json = False,
) -> None:
    """Show the state of each file of a source: pending, loaded, changed, deleted, or failed and why."""
    from asgard_assets.ingest.files.plan.listing import State, file_states

    known = get_args(State)
    if wrong := sorted(set(state or ()) - set(known)):
        raise ConfigError(f"--state {wrong[0]}: there are {', '.join(known)}")
    lake, landing, source = _source(name)
    shown, counts = [], dict[str, int]()
    for found in file_states(lake, landing, source, set(state) if state else None):  # type: ignore[arg-type]
        if ds and found.ds != ds:
            continue
        counts[found.state] = counts.get(found.state, 0) + 1
        if len(shown) < limit:
            shown.append(found)
    if as_json:
        typer.echo(json.dumps({"counts": counts, "files": [asdict(each) for each in shown]}, indent=1))
        return
    for each in shown:
        console.print(f"{each.state:8} {each.ds}  {each.path}" + (f"  {each.reason}" if each.reason else ""))
    console.print(", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "no such file")


def backlog(
    name: Annotated[str, typer.Argument(help="Name of a file source; default: all.")] = "",
    as_json: Json = False,
) -> None:
    """List all folders and count pending files and bytes, with the age of the oldest; show what is paused, and why."""
    import time

    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.plan.control import read_control
    from asgard_assets.ingest.files.plan.listing import scan
    from asgard_assets.lake import Lake
    from asgard_assets.operations.sources import file_source, file_sources

    sources = [file_source(name)] if name else list(file_sources().values())
    lake, landing, told = Lake.from_settings(), Landing.from_settings(), []
    from asgard_assets.errors import SourceError

    for source in sources:
        try:
            found = scan(lake, landing, source, full=True, max_files=10_000_000)
        except SourceError as error:
            if name:
                raise
            told.append({"source": source.name, "error": str(error)})
            continue
        control = read_control(lake, source.name)
        told.append(
            {
                "source": source.name,
                "files": found.files,
                "bytes": found.bytes,
                "oldest_seconds": round(time.time() - found.oldest_us / 1e6) if found.oldest_us else 0,
                "days": len(found.todo),
                "failed_files": len(found.failed),
                "paused": str(control.pause) if control.pause else "",
            }
        )
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    for each in told:
        console.print(", ".join(f"{key} {value}" for key, value in each.items() if value != ""))


def pause(name: Name, reason: Annotated[str, typer.Option(help="Shown in every tick.")] = "") -> None:
    """Start no more runs for new files of a source. Runs in progress finish. The sensor still reports the backlog."""
    from asgard_assets.ingest.files.plan import control

    lake, _, source = _source(name)
    console.print(f"{source.name}: {control.pause(lake, source.name, reason, getpass.getuser())}")


def resume(name: Name) -> None:
    """Resume a paused source. Waiting files are picked up at the next tick."""
    from asgard_assets.ingest.files.plan import control

    lake, _, source = _source(name)
    console.print(f"{source.name}: {'resumed' if control.resume(lake, source.name) else 'was not paused'}")


def retry(name: Name) -> None:
    """Start failed runs again at the sensor's next tick, even if their files did not change."""
    from asgard_assets.ingest.files.plan import control

    lake, _, source = _source(name)
    console.print(f"{source.name}: attempt {control.retry(lake, source.name)} starts at the next tick")


def refresh(
    name: Name,
    mode: Annotated[
        str, typer.Option(help="new: only new and changed files. full: all files again.")
    ] = "new",
    partitions: Days = "",
    dry_run: DryRun = False,
) -> None:
    """Load a source now: new and changed files, or every file again. Rows are replaced, never duplicated."""
    if mode not in ("new", "full"):
        raise ConfigError(f"--mode {mode}: there are new and full")
    _load(name, (parse_days(partitions) if partitions else []), full=mode == "full", dry_run=dry_run)


def backfill(
    name: Name,
    since: Annotated[str, typer.Argument(help="First day, such as 2026-10-05.")],
    until: Annotated[str, typer.Option(help="Last day; default: the newest.")] = "",
    full: Annotated[
        bool, typer.Option("--full", help="Also load files again that are loaded already.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Load every day from a date on. Days without a gap between them are one run."""
    from asgard_assets.components.partitions import daily

    calendar = daily().get_partition_keys()
    for day in filter(None, (since, until)):
        parse_day(day)
    chosen = [day for day in calendar if since <= day <= (until or calendar[-1])]
    if not chosen:
        raise ConfigError(f"{since}: no day of the calendar, which goes from {calendar[0]} to {calendar[-1]}")
    _load(name, chosen, full=full, dry_run=dry_run)


def repair(name: Name, dry_run: DryRun = False) -> None:
    """Load again every file with records in quarantine, after you fixed the cause.

    Files that could not be read and were removed since leave the quarantine.
    """
    from asgard_assets.ingest.files.plan.quarantine import forget_gone, quarantined
    from asgard_assets.operations.sources import materialize

    lake, landing, source = _source(name)
    gone = forget_gone(lake, landing, source.name, dry_run)
    for path in gone:
        console.print(f"{path} was removed from the landing: it leaves the quarantine")
    found = quarantined(lake, source.name)
    if not found:
        console.print(f"{name}: nothing is in quarantine")
        return
    for day, paths in found.items():
        console.print(f"{day}: {len(paths)} files, {sum(paths.values())} records in quarantine")
    if dry_run:
        return
    share_history()
    materialize(f"bronze/{name}", list(found), _config(name, "quarantined"))
    left = quarantined(lake, source.name)
    console.print(
        f"{name}: {sum(sum(paths.values()) for paths in left.values())} records are left in quarantine"
    )


def clean(name: Name, dry_run: DryRun = False) -> None:
    """Move or delete old loaded files, as the source's `clean` says. Without `clean`, nothing happens."""
    from asgard_assets.ingest.files.clean import clean as cleaned

    lake, landing, source = _source(name)
    done = cleaned(lake, landing, source, dry_run)
    verb = "would go" if dry_run else "went"
    console.print(f"{name}: {done.files} files ({done.bytes} bytes) {verb}, {done.left} loaded ones stay")
    for reason in done.refused[:20]:
        console.print(f"refused: {reason}", highlight=False, markup=False)


def _load(name: str, days: Sequence[str], full: bool, dry_run: bool) -> None:
    from asgard_assets.components.partitions import daily
    from asgard_assets.ingest.files.plan.listing import file_states, scan
    from asgard_assets.operations.sources import materialize

    lake, landing, source = _source(name)
    wanted = {"pending", "changed", "failed"} | ({"loaded"} if full else set())
    found: dict[str, list[int]] = {}
    for state in file_states(lake, landing, source, wanted):  # type: ignore[arg-type]
        found.setdefault(state.ds, []).append(state.size)
    calendar = set(daily().get_partition_keys())
    chosen = [day for day in sorted(found) if day in calendar and (not days or day in days)]
    for day in chosen:
        console.print(f"{day}: {len(found[day])} files, {sum(found[day])} bytes")
    if outside := sorted(found.keys() - calendar):
        console.print(f"outside the calendar, not loaded: {', '.join(outside[:5])}")
    if not chosen:
        console.print(f"{name}: nothing to load")
    elif not dry_run:
        if source.ordered:
            scan(lake, landing, source, full=True)  # so that the run looks at late and changed files as well
        share_history()
        materialize(f"bronze/{name}", chosen, _config(name, "all" if full else "changed"))


def receive(
    token: Annotated[
        str, typer.Option(help="Token that the store must send: env:NAME or file:/path.")
    ] = "env:ASGARD_NOTICE_TOKEN",  # noqa: S107
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8480,
) -> None:
    """Receive the events that a store posts to a webhook, for sources with `notify: {type: folder}`.

    Give the store http://HOST:PORT/ and the token as its bearer token; one that sends none gets
    http://HOST:PORT/TOKEN. Stops on ctrl-c. Without TLS: put your proxy before it where the network is not yours.
    """
    from aiohttp import web

    from asgard_assets.ingest.api.source.secrets import resolve
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.landing.receiver import Receiver, application
    from asgard_assets.operations.sources import file_sources

    secret = resolve(token, "asgard receive").value
    if len(secret) < 16:
        raise ConfigError(
            "asgard receive: the token is shorter than 16 characters; `openssl rand -hex 24` makes one"
        )
    receiver = Receiver(Landing.from_settings(), list(file_sources().values()))
    # No access log: the token may stand in the address.
    web.run_app(application(receiver, secret), host=host, port=port, access_log=None, print=console.print)


def share_history() -> None:
    """What was measured and what is missing stands in the history that UI and daemon share."""
    from asgard_assets.resources.home import prepare_home

    os.environ.setdefault("DAGSTER_HOME", str(prepare_home()))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")


def _config(name: str, reload: Literal["changed", "quarantined", "all"]) -> dict[str, object]:
    return {"ops": {f"files_{name}": {"config": {"reload": reload}}}}


def _source(name: str) -> tuple[Lake, Landing, FileSource]:
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.lake import Lake
    from asgard_assets.operations.sources import file_source

    return Lake.from_settings(), Landing.from_settings(), file_source(name)


def selected(selection: str) -> str:
    """A plain `stage/table` as Dagster's selection syntax has it."""
    plain = selection.replace("/", "").replace("_", "").isalnum() and "/" in selection
    return f'key:"{selection}"' if plain else selection
