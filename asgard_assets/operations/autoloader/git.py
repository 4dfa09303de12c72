"""Between the API and Git: a source that was made through the API becomes a file of the project, and the other way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asgard_assets import project
from asgard_assets.components.platform.definitions import (
    COMPONENTS,
    ManagedDefinition,
    SourceKind,
    definitions_in,
    refuse_other_tables,
)
from asgard_assets.documents import refuse_bombs
from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.ingestions import as_yaml

_OPENS = re.compile(r"\{\{|\{%|\{#")  # of Dagster's templates
_LITERAL = re.compile(r"\{\{ '(\{\{|\{%|\{#)' \}\}")
_KINDS: dict[str, SourceKind] = {component: kind for kind, component in COMPONENTS.items()}  # type: ignore[misc]


@dataclass(frozen=True)
class Exported:
    """A file that holds a source now. `handed_over`: the API has let it go."""

    name: str
    path: Path
    handed_over: bool


def export(lake: Lake, name: str, folder: Path | None = None, keep: bool = False) -> Exported:
    """Write a source's `defs.yaml`; then the API lets it go, unless it is to `keep` it. Its table and its files stay.

    Raises NotFoundError where there is no such source, ConflictError where the file is there already.
    """
    kept = definitions_in(lake)
    found = kept.find(name)
    if found is None or found.document.deleted:
        raise NotFoundError(f"there is no ingestion {name[:70]}; `asgard managed list` names them")
    one = found.document
    path = (folder or project.current().defs / "bronze" / one.kind / name) / "defs.yaml"
    if path.exists():
        raise ConflictError(f"{path} is there already; name another folder with --folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = one.model_copy(update={"attributes": _each_text(one.attributes, _literal)})
    path.write_text(as_yaml(written), encoding="utf-8")
    if not keep:
        kept.save(one.model_copy(update={"deleted": True}), expected=found.number)
    return Exported(name, path, not keep)


def adopt(lake: Lake, path: Path, workspace: str, account: str = "") -> ManagedDefinition:
    """Take the source of a `defs.yaml` over: the API manages it once the file is gone; until then the file holds.

    Raises ConfigError where the file holds no source that the API can manage, ConflictError where it manages one of that name.
    """
    type_, attributes = _read(path)
    kind = _KINDS.get(type_)
    if kind is None:
        raise ConfigError(
            f"{path}: {type_} is not managed by the API; it manages {', '.join(COMPONENTS.values())}"
        )
    attributes = _each_text(attributes, _plain)
    name = str(attributes.get("name") or (attributes.get("source") or {}).get("name") or "")
    kept = definitions_in(lake)
    known = kept.find(name) if name else None
    if known is not None and not known.document.deleted:
        raise ConflictError(f"the ingestion {name} is there already")
    made = ManagedDefinition(
        name=name, kind=kind, attributes=attributes, workspace=workspace, owner=account, created=int(time.time())
    )  # fmt: skip
    refuse_other_tables(made)
    return kept.save(made, expected=known.number if known else 0).document


def _literal(text: str) -> str:
    """The text as Dagster, which fills in templates in a file, leaves it: the API fills in none."""
    return _OPENS.sub(lambda found: f"{{{{ '{found[0]}' }}}}", text)


def _plain(text: str) -> str:
    """The text that a file means. Raises ConfigError where only Dagster can say what that is."""
    found = _LITERAL.split(text)  # every second part is what opens a template, and is none
    if any(_OPENS.search(part) for part in found[::2]):
        raise ConfigError(
            f"{text[:70]!r} is a template that Dagster fills in; the API fills in none: write the value instead"
        )
    return "".join(found)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _each_text(each, change) for name, each in value.items()}
    return [_each_text(each, change) for each in value] if isinstance(value, list) else value


def managed(lake: Lake) -> list[ManagedDefinition]:
    """The sources that the API manages, by name."""
    return [one.document for one in definitions_in(lake).newest() if not one.document.deleted]


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        refuse_bombs(text, str(path))
        told = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", file=str(path)) from error
    if not isinstance(told, dict) or not isinstance(told.get("attributes"), dict):
        raise ConfigError(f"{path}: expected one source, with `type` and `attributes`", file=str(path))
    return str(told.get("type", "")), told["attributes"]
