"""Commands that keep a deployment in order: restore, backup, migrate, reference, sweep, receive, airbyte refresh."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets import project
from asgard_assets.cli import migrate
from asgard_assets.cli.options import UPKEEP, Output, OutputOption
from asgard_assets.cli.terminal import console, looking, print_json, share_history
from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from asgard_assets.operations.changes.backup import Backup

airbyte = typer.Typer(help="Airbyte: the committed snapshot of its connections.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (restore, backup, restore_all, reference, sweep, receive):
        app.command(rich_help_panel=UPKEEP)(command)
    app.add_typer(migrate.app, name="migrate", rich_help_panel=UPKEEP)
    app.add_typer(airbyte, name="airbyte", rich_help_panel=UPKEEP)


@airbyte.command()
def refresh(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the snapshot is out of date.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Ask Airbyte for its connections, rewrite the committed snapshot and show what changed.

    Example: asgard airbyte refresh --check
    """
    from asgard_assets.components.airbyte import refresh_snapshot

    with looking("asking Airbyte"):
        difference = refresh_snapshot(write=not check)
    if output is Output.json:
        print_json(
            {"changed": bool(difference), "written": bool(difference) and not check, "difference": difference}
        )
    else:
        console.print(difference or "the snapshot says what Airbyte says")
    if check and difference:
        raise typer.Exit(1)


def restore(
    table: Annotated[str, typer.Argument(help="stage/table, such as silver/usage.")],
    version: Annotated[
        int | None, typer.Option(min=0, help="The Delta version to go back to.", show_default=False)
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="A moment instead: 2026-10-12T06:30, in the project's time zone.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Make a table what it was: its files of an earlier version, in a new commit. Nothing is deleted.

    Its changed partitions are recorded in Dagster, so what reads them is built again. What a source loaded since
    counts as loaded: `asgard run NAME --all --partitions …` loads it again.

    Example: asgard restore silver/usage --as-of 2026-10-12T06:30 --dry-run
    """
    import dagster as dg

    from asgard_assets.lake import Lake
    from asgard_assets.operations.restore import moment, planned, restored
    from asgard_assets.settings import Settings

    lake = Lake.from_settings()
    with looking(f"reading the log of {table}"):
        when = moment(as_of, Settings().time_zone) if as_of else None
        plan = planned(lake, table, version, when)
    made = None
    if plan.changes and not dry_run:
        share_history()
        with looking(f"restoring {table}"), dg.DagsterInstance.get() as instance:
            made = restored(lake, plan, instance)
    if output is Output.json:
        days = [{"partition": c.partition, "rows": c.rows, "rows_then": c.rows_then} for c in plan.changes]
        print_json(
            {
                "table": plan.table,
                "version": plan.version,
                "made_at": plan.made_at.isoformat(),
                "newest": plan.newest,
                "changes": days,
                "committed": made,
            }
        )
        return
    console.print(f"{plan.table}: version {plan.version} of {plan.made_at:%Y-%m-%d %H:%M:%S} UTC")
    for change in plan.changes:
        console.print(
            f"  {change.partition or 'the whole table'}: {change.rows:,} → {change.rows_then:,} rows"
        )
    if not plan.changes:
        console.print("nothing to do: it is what it was then")
    else:
        console.print(f"committed as version {made}" if made is not None else "dry run: nothing was changed")


def backup(
    to: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix; later backups share its files.")],
    output: OutputOption = Output.text,
) -> None:
    """Save the lake and the databases of Dagster, MLflow, Feast and the gateway, as they are at one point in time.

    Runs may go on meanwhile. Files of tables that an earlier backup holds are not copied again.

    Example: asgard backup s3://backups/asgard
    """
    from asgard_assets.lake import Lake
    from asgard_assets.operations.changes.backup import backup as save
    from asgard_assets.operations.changes.databases import state_of
    from asgard_assets.roots import checked_root
    from asgard_assets.settings import Settings

    share_history()
    with looking("saving lake and databases"):
        made = save(Lake.from_settings(), checked_root(to, "asgard backup"), state_of(Settings()))
    _show_backup(made, "saved", output)


def restore_all(
    place: Annotated[str, typer.Argument(help="Where `asgard backup` saved to.")],
    name: Annotated[
        str, typer.Option(help="Name of a backup. Default: the newest.", show_default=False)
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what the lake and the databases hold now.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Make the lake and the databases what they were at a backup. Stop the daemon and all runs first.

    What came since is loaded and built again at the next ticks: the lake says what is missing and stale.

    Example: asgard restore-all s3://backups/asgard --replace
    """
    from asgard_assets.lake import Lake
    from asgard_assets.operations.changes.backup import restore_all as put_back
    from asgard_assets.operations.changes.databases import state_of
    from asgard_assets.roots import checked_root
    from asgard_assets.settings import Settings

    share_history()
    state = state_of(Settings())
    with looking("restoring lake and databases"):
        made = put_back(Lake.from_settings(), checked_root(place, "asgard restore-all"), state, name, replace)
    _show_backup(made, "restored", output)


def _show_backup(made: Backup, done: str, output: Output) -> None:
    if output is Output.json:
        print_json({**asdict(made), "made_at": made.made_at.isoformat()})
        return
    console.print(
        f"{done} {made.name}: {len(made.tables):,} tables, {made.copied_files:,} files copied; "
        f"{', '.join(made.beside) or 'no database'}"
    )
    for each in made.elsewhere:
        console.print(f"not held: {each}")


def reference(output: OutputOption = Output.text) -> None:
    """Write the JSON schemas and reference pages of everything that is configured in YAML (docs/).

    Example: asgard reference
    """
    from asgard_assets.reference import write

    written = [str(path.relative_to(project.folder())) for path in write()]
    if output is Output.json:
        print_json(written)
        return
    for path in written:
        console.print(f"wrote {path}")


def sweep(
    lost: Annotated[
        list[str] | None,
        typer.Option(
            help="A run whose host is dead: it is marked as failed first. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Delete what killed hosts left on Kubernetes: applications and messages of runs that have ended.

    Example: asgard sweep --lost RUN_ID
    """
    import dagster as dg

    from asgard_assets.resources.cluster import kubernetes_launcher
    from asgard_assets.resources.leftovers import remove_leftovers
    from asgard_assets.settings import Settings

    share_history()
    with looking("looking for leftovers"), dg.DagsterInstance.get() as instance:
        lines = list(remove_leftovers(instance, kubernetes_launcher(Settings()), lost or ()))
    if output is Output.json:
        print_json(lines)
        return
    for line in lines or ["nothing is left"]:
        console.print(line)


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

    Example: asgard receive --host 0.0.0.0 --port 8480
    """
    from aiohttp import web

    from asgard_assets.ingest.api.source.secrets import resolve
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.ingest.files.landing.receiver import Receiver, application
    from asgard_assets.operations.sources import catalog

    secret = resolve(token, "asgard receive").value
    if len(secret) < 16:
        raise ConfigError(
            "asgard receive: the token is shorter than 16 characters; `openssl rand -hex 24` makes one"
        )
    receiver = Receiver(Landing.from_settings(), list(catalog().files.values()))
    # No access log: the token may stand in the address.
    web.run_app(application(receiver, secret), host=host, port=port, access_log=None, print=console.print)
