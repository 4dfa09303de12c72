"""`asgard account`: who may use the API of `asgard serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.terminal import console, echo, print_json
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    from asgard_assets.gateway.accounts.store import Accounts

account = typer.Typer(help="Who may use the API: accounts, keys, the audit log.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the account.")]


class Role(StrEnum):
    """What an account may do."""

    viewer = "viewer"
    operator = "operator"
    editor = "editor"
    trainer = "trainer"
    admin = "admin"


@contextmanager
def _accounts() -> Iterator[Accounts]:
    from asgard_assets.gateway.accounts.store import Accounts

    found = Accounts.from_settings(Settings())
    try:
        yield found
    finally:
        found.close()


@account.command()
def add(
    name: Name,
    role: Annotated[
        Role,
        typer.Option(
            help="viewer reads; operator also starts and stops; editor also makes sources, sinks and tables; trainer "
            "reads, runs and trains models; admin does everything."
        ),
    ] = Role.viewer,
    workspace: Annotated[
        list[str] | None,
        typer.Option(help="A workspace that it belongs to; give it again for others. Default: all."),
    ] = None,
) -> None:
    """Make an account. From the first one on, everybody who uses the API must log in.

    Example: asgard account add ann --role editor --workspace default
    """
    with _accounts() as found:
        found.add(name, role.value, tuple(workspace or ("*",)))
    console.print(f"made the account {name}. Next: asgard account key {name}")


@account.command()
def key(
    name: Name,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="The key works for so many days.")] = 90,
) -> None:
    """Print a new key of an account. It is shown this once: only its hash is kept.

    Example: asgard account key ann --days 30
    """
    with _accounts() as found:
        echo(found.new_key(name, days))


@account.command(name="list")
def show(output: OutputOption = Output.text) -> None:
    """List the accounts.

    Example: asgard account list
    """
    with _accounts() as accounts:
        found = accounts.list()
    if output is Output.json:
        print_json(found)
        return
    for one in found:
        console.print(
            f"{one.name}  {one.role}  {', '.join(one.workspaces)}{'  disabled' if one.disabled else ''}"
        )
    if not found:
        console.print("no accounts: the API is open to this machine alone")


@account.command()
def disable(name: Name) -> None:
    """End an account: its keys stop working.

    Example: asgard account disable ann
    """
    with _accounts() as found:
        found.disable(name)


@account.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The 12 characters after asgard_ in the key.")],
) -> None:
    """End one key.

    Example: asgard account revoke 0123456789ab
    """
    with _accounts() as found:
        found.revoke(key_id)


@account.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, help="Show so many lines.")] = 100,
    output: OutputOption = Output.text,
) -> None:
    """Show who changed what through the API, the newest first.

    Example: asgard account audit --limit 20
    """
    with _accounts() as accounts:
        found = accounts.audit(limit)
    if output is Output.json:
        print_json(found)
        return
    for one in found:
        when = datetime.fromtimestamp(one.time, UTC)
        console.print(
            f"{when:%Y-%m-%d %H:%M:%S}  {one.account or '-'}  {one.action}  {one.status}  {one.request_id}"
        )
