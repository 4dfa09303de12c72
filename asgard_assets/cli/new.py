"""`asgard new`: files of sources that are written for you."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgard_assets.cli.options import Output, OutputOption
from asgard_assets.cli.rows import frame
from asgard_assets.cli.terminal import console, print_json
from asgard_assets.errors import ConfigError

if TYPE_CHECKING:
    from asgard_assets.ingest.api.openapi.marks import Finding

new = typer.Typer(help="Write the file of a new source.", no_args_is_help=True)


@new.command()
def api(
    openapi: Annotated[
        Path,
        typer.Option(help="The API's own description: OpenAPI 3.0 or 3.1, or Swagger 2.0; JSON or YAML."),
    ],
    path: Annotated[
        str | None,
        typer.Option(help="The list to read, such as /users/{id}/orders; default: show the lists."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the source; default: made from the title and the path.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Base address, if it differs from the description's.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-o", help="File to write; default: NAME.yaml.", show_default=False),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Ask the API about each guess, and correct the file.")
    ] = False,
    rows: Annotated[
        Path | None, typer.Option(help="With --prove: a file of parent rows for the parameters in the path.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Write a source for a list of an API, from the API's own description (OpenAPI).

    Login, items, key and pages are guessed; each guess has a comment `guessed: why`. Then

        asgard preview NAME.yaml            asks the API: each guess is proven, corrected or not seen

        asgard preview NAME.yaml --correct  and writes that into the file

    A parameter in the path, such as {id}, becomes a column of parent rows (form.rows).

    Example: asgard new api --openapi shop.openapi.yaml --path '/users/{id}/orders'
    """
    from asgard_assets.ingest.api.openapi.writing import flow, propose
    from asgard_assets.operations.new.source import lists_of, new_source

    if path is None:
        found = lists_of(openapi)
        if output is Output.json:
            print_json({"lists": found})
            raise typer.Exit(1)
        console.print("\n".join([f"{openapi} describes these lists; name one with --path:", *found]))
        raise typer.Exit(1)
    target = file or Path(f"{propose(openapi, path, name, server).name}.yaml")
    proposal = new_source(openapi, path, target, name, server)
    if output is Output.json:
        findings = prove_guesses(target, None, rows, correct=True) if prove else []
        print_json(
            {
                "file": str(target),
                "guesses": proposal.guesses,
                "fill_in": proposal.fill_in,
                "findings": findings,
            }
        )
        return
    console.print(f"wrote {target}")
    for guess in proposal.guesses:
        console.print(f"guessed {guess.field}: {flow(guess.value)} ({guess.why})")
    for one in proposal.fill_in:
        console.print(f"to fill in: {one}")
    if prove:
        look_at_guesses(target, None, rows, correct=True)
    else:
        console.print(f"next: asgard preview {target}")


class DatabaseKind(StrEnum):
    """Kinds of databases."""

    postgres = "postgres"
    mysql = "mysql"
    mariadb = "mariadb"


@new.command()
def database(
    host: Annotated[str, typer.Option(help="Name or address of the server.")],
    name: Annotated[str, typer.Option(help="Name of the database.")],
    user: Annotated[str, typer.Option(help="User, who needs no more than the right to read.")],
    password: Annotated[
        str | None,
        typer.Option(
            help="Password, by reference: env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY."
        ),
    ] = None,
    kind: Annotated[
        DatabaseKind, typer.Option("--type", help="Kind of the database.")
    ] = DatabaseKind.postgres,
    port: Annotated[
        int | None, typer.Option(help="Port; default: that of the kind.", show_default=False)
    ] = None,
    schema: Annotated[str, typer.Option(help="Schema of the tables; default: public, or the database.")] = "",
    source: Annotated[str | None, typer.Option(help="Name of the source; default: the database's.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-o", help="File to write; default: SOURCE.yaml.", show_default=False),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Write a source of all tables of a database, with their keys, as the database lists them.

    Move the file to defs/SOURCE/defs.yaml of the project.

    Example: asgard new database --host db.example.com --name shop --user reader --password env:SHOP_PASSWORD
    """
    from asgard_assets.operations.new.database import new_database

    called = source or name.lower()
    target = file or Path(f"{called}.yaml")
    server = {
        "type": kind.value,
        "host": host,
        "port": port,
        "database": name,
        "user": user,
        "password": password,
    }
    given = {field: value for field, value in server.items() if value is not None}
    tables = new_database(target, called, given, schema, f"{called}_")
    if output is Output.json:
        print_json({"file": str(target), "tables": tables})
        return
    console.print(
        f"wrote {target} with {len(tables)} tables: {', '.join(tables[:10])}{' …' if len(tables) > 10 else ''}"
    )


def look_at_guesses(config: Path, day: str | None, rows: Path | None, correct: bool) -> None:
    """Ask the API about each guess in the file; print what it says, and write it where that is wanted."""
    from asgard_assets.operations.new import source as operations

    if not operations.has_guesses(config):
        if correct:
            raise ConfigError(
                f"{config}: no comment `guessed: …` is in this file, so there is nothing to correct"
            )
        return
    console.print("asking the API about each guess:")
    findings = prove_guesses(config, day, rows, correct, lambda finding: console.print(_shown(finding)))
    if correct:
        console.print(f"wrote that into {config}")
    elif any(finding.state == "corrected" for finding in findings):
        console.print(f"asgard preview {config} --correct writes that into the file")


def prove_guesses(
    config: Path,
    day: str | None,
    rows: Path | None,
    correct: bool,
    tell: Callable[[Finding], None] = lambda _: None,
) -> list[Finding]:
    """Ask the API about each guess in the file, and write what it says if `correct`. `tell` gets each finding at once."""
    from asgard_assets.ingest.api.plan.calendar import today
    from asgard_assets.lake import Lake
    from asgard_assets.operations.new import source as operations

    findings: list[Finding] = []
    with frame(rows) as found:
        for finding in operations.prove(Lake.from_settings(), config, day or today(), found):
            tell(finding)
            findings.append(finding)
    if correct:
        operations.correct(config, findings)
    return findings


def _shown(finding: Finding) -> str:
    from asgard_assets.ingest.api.openapi.writing import flow

    value = f" to {flow(finding.value)}" if finding.state == "corrected" else ""
    return f"  {finding.field}: {finding.state}{value} ({finding.why})"
