"""`asgard new api`: a source from an API's own description, and what the API's answers say of its guesses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.openapi.document import Document, well_formed
from asgard_assets.ingest.api.openapi.guesses import items
from asgard_assets.ingest.api.openapi.marks import Finding, guessed, with_findings
from asgard_assets.ingest.api.openapi.writing import Proposal, propose
from asgard_assets.ingest.api.source.config import load, located
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.lake import Lake


def new_source(description: Path, path: str, target: Path, name: str | None, server: str | None) -> Proposal:
    """Write the source of the list at `path` into `target`, which must not be there yet."""
    if target.exists():
        raise ConfigError(f"{target} is there already. Name another file with --file")
    proposal = propose(description, path, name, server)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(proposal.text, encoding="utf-8")
    return proposal


def lists_of(description: Path) -> list[str]:
    """The paths of the description that answer with a list."""
    document = Document.read(description)

    def has_list(path: str) -> bool:
        try:
            with well_formed(description):
                items(document, document.listing(path))
        except ConfigError:
            return False
        return True

    with well_formed(description):
        return [path for path in document.lists() if has_list(path)]


def has_guesses(config: Path) -> bool:
    """Whether the file marks anything as guessed."""
    return bool(guessed(config.read_text(encoding="utf-8")))


def prove(lake: Lake, config: Path, day: str, rows: str | None = None) -> Iterator[Finding]:
    """Ask the API about each guess that the file marks; one finding as soon as it is there. Writes nothing.

    `rows`: parents (Parquet), where the source names none of its own.
    """
    from asgard_assets.ingest.api.proof import Proof

    fields = tuple(guessed(config.read_text(encoding="utf-8")))
    source = load(config)
    if fields and isinstance(source.form, PullForm):
        with located(config):
            yield from Proof(lake, source, day, rows).findings(fields)


def correct(config: Path, findings: Sequence[Finding]) -> None:
    """Write what was proven and corrected into the file."""
    text = config.read_text(encoding="utf-8")
    config.write_text(with_findings(text, findings), encoding="utf-8")
