"""A source's YAML from what a description says and lets guess; each guess has a comment `guessed: why`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_assets.ingest.api.openapi.document import Document, Listing, Parameter, well_formed
from asgard_assets.ingest.api.openapi.guesses import Guess, items, key, page_size, pages, size_param
from asgard_assets.ingest.api.openapi.logins import CHANGE, login
from asgard_assets.ingest.api.source.forms import column_of

_GENERIC = {"id", "key", "name", "uuid", "slug", "number", "code", "gid", "sid"}


@dataclass(frozen=True)
class Proposal:
    """A source that was written from a description. `fill_in`: what a person has to set before it runs."""

    name: str
    text: str
    guesses: tuple[Guess, ...]
    fill_in: tuple[str, ...]


def propose(file: Path, path: str, name: str | None = None, server: str | None = None) -> Proposal:
    """The source for the list at `path`. Raises ConfigError where the document has no such list, or is malformed."""
    with well_formed(file):
        return _proposal(file, path, name, server)


def _proposal(file: Path, path: str, name: str | None, server: str | None) -> Proposal:
    document = Document.read(file)
    listing = document.listing(path)
    place, item = items(document, listing)
    api = _api(document.title)
    static = [part for part in path.split("/") if part and "{" not in part]
    called = name or f"{api}_{_word(static[-1].partition('.')[0]) if static else 'rows'}"
    column = _columns(document, listing, key(document, item).value)
    paging = pages(document, listing, place.value)
    guesses = (login(document, listing, api.upper()), place, paging, key(document, item))
    base = server or next(iter(document.servers), f"${{{api.upper()}_URL}}{document.below}")
    told = {guess.field: guess for guess in guesses}
    lines = [
        f"# {document.title}: GET {path}, from {file.name}. `asgard preview FILE` asks the API and says of each guess",
        "# whether it holds; `--correct` writes that into this file.",
        f"name: {called}",
        "kind: snapshot  # or events (the API knows every day), changes (what changed since a cursor)",
        "form:",
        "  type: pull",
        *_parents(column),
        *(_line(told[f"form.{one}"], "  ") for one in ("items", "pagination", "key")),
        "endpoint:",
        f"  base_url: {base}",
        f"  path: {_path(path, column)}",
        *_query(listing, paging),
        _line(told["auth"], ""),
        f"sink: {{table: bronze/{called}}}",
        f"quality: {flow({'description': f'{called}: GET {path} of {document.title}'})}",
    ]
    text = "\n".join(lines) + "\n"
    secrets = re.findall(r"env:(\w+)|\$\{(\w+)\}", text)
    wanted = [f"the variable {one or other}" for one, other in dict.fromkeys(secrets)]
    return Proposal(called, text, guesses, (*wanted, *([f"{CHANGE} in the file"] if CHANGE in text else ())))


def with_value(line: str, value: Any, state: str, why: str) -> str:
    """The line of a guess with another value, and with what was found in place of `guessed: …`."""
    head, _, _ = line.partition(":")
    return f"{head}: {flow(value)}  # {state}: {why}"


def _line(guess: Guess, indent: str) -> str:
    return f"{indent}{guess.field.rpartition('.')[2]}: {flow(guess.value)}  # guessed: {guess.why}"


def flow(value: Any) -> str:
    """The value on one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").strip()


def _api(title: str) -> str:
    """A short name of the API: the first word of its title that says anything."""
    words = [re.sub(r"\W+", "", re.sub(r"['’]s$", "", word)).lower() for word in title.split()]
    told = [_word(word) for word in words if word not in ("the", "a", "an", "rest", "api", "openapi")]
    return next((word for word in told if word), "api")


def _word(text: str) -> str:
    """Text as a name: snake case, and a letter first."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"^[^a-z]+", "", re.sub(r"[^a-z0-9]+", "_", text.lower())).strip("_")


def _columns(document: Document, listing: Listing, taken: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """For each path parameter the column of the parent row that fills it, and its type."""
    found: dict[str, tuple[str, str]] = {}
    before = ""
    kinds = {one.name: one.kind for one in listing.parameters if one.place == "path"}
    for part in listing.path.split("/"):
        for name in re.findall(r"\{([^}]+)\}", part):
            column = _word(name) or "parent"
            if column in _GENERIC or column in {column_of(path) for path in taken}:
                column = f"{_singular(_word(before))}_{column}".strip("_")
            found[name] = (column, "bigint" if kinds.get(name) == "integer" else "string")
        before = part if part and "{" not in part else before
    return found


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _path(path: str, columns: Mapping[str, tuple[str, str]]) -> str:
    for name, (column, _) in columns.items():
        path = path.replace(f"{{{name}}}", f"{{row.{column}}}")
    return path


def _parents(columns: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    if not columns:
        return
    keys = ", ".join(f"{column}: {kind}" for column, kind in columns.values())
    names = ", ".join(column for column, _ in columns.values())
    yield "  rows:  # a list for each parent row: give them with --rows FILE, or by a query over the lake, such as"
    yield f"    # query: select {names} from bronze.parents where ds = $ds"
    yield "    # reads: [bronze/parents]"
    yield f"    key: {{{keys}}}"


def _query(listing: Listing, paging: Guess) -> Iterator[str]:
    """Parameters that must be sent, and the size where the pagination does not send it."""
    sent = {paging.value.get("param"), paging.value.get("size_param")}
    lines = []
    size = size_param(listing)
    if size is not None and size.name not in sent:
        lines.append(f"    {flow(size.name)}: {flow(str(page_size(size)))}  # items a page")
    for one in listing.query().values():
        if one.required and one.name not in sent and one is not size:
            lines.append(f"    {flow(one.name)}: {flow(_value(one))}  # needed{_about(one)}")
    if lines:
        yield "  query:"
        yield from lines


def _value(parameter: Parameter) -> str:
    schema = parameter.schema
    for value in (schema.get("example"), schema.get("default"), next(iter(schema.get("enum") or ()), None)):
        if isinstance(value, str | int | float):
            return str(value).lower() if isinstance(value, bool) else str(value)
    return CHANGE


def _about(parameter: Parameter) -> str:
    return f": {parameter.description[:80]}" if parameter.description else ""
