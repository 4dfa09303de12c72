"""From what somebody asks for to a source's definition: the YAML that a project's `defs.yaml` would hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from asgard_assets.components.platform.definitions import ManagedDefinition, SourceKind, component_of
from asgard_assets.errors import ConfigError
from asgard_assets.lake.store import Store

_FORMATS = ("csv", "json", "parquet", "avro", "orc", "xml", "text", "binary", "fixed", "excel", "auto")
EVERYWHERE = "*"


@dataclass(frozen=True)
class Timing:
    """When a source is looked at: by a cron line, or all the time. `start`: files of earlier days are left alone."""

    cron: str = ""
    time_zone: str = ""
    start: date | None = None


@dataclass(frozen=True)
class WantedIngestion:
    """An ingestion as it was asked for. `folders`: workspaces whose folders it may read; `*`: all of them."""

    name: str
    kind: SourceKind = "files"
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])
    format: str | Mapping[str, Any] = ""
    timing: Timing = Timing()
    cluster: str = "local"
    description: str = ""
    workspace: str = "default"
    account: str = ""
    folders: tuple[str, ...] = (EVERYWHERE,)


def definition_of(wanted: WantedIngestion, now: float, landing: Store) -> ManagedDefinition:
    """The definition, checked as a code location would. Raises ConfigError that names the field that is wrong."""
    attributes = {"files": _files, "api": _api, "database": _database, "stream": _stream}[wanted.kind](
        wanted, landing
    )
    made = ManagedDefinition(
        name=wanted.name,
        kind=wanted.kind,
        attributes=attributes,
        workspace=wanted.workspace,
        cluster=wanted.cluster,
        owner=wanted.account,
        created=int(now),
    )
    component_of(made)
    return made


def _files(wanted: WantedIngestion, landing: Store) -> dict[str, Any]:
    given, timing = dict(wanted.source), wanted.timing
    path = below(landing, str(given.pop("path", "") or ""))
    _refuse_other_folders(wanted, path)
    rule: dict[str, Any] = {
        "type": "arrival",
        **({"time_zone": timing.time_zone} if timing.time_zone else {}),
    }
    attributes: dict[str, Any] = {
        "name": wanted.name,
        "path": path,
        "ds": given.pop("ds", rule),
        "types": given.pop("types", "inferred"),
        "description": given.pop("description", "") or wanted.description or f"Records of {path}.",
    }
    if wanted.format:
        attributes["format"] = _format(wanted.format)
    if timing.time_zone:
        attributes["time_zone"] = timing.time_zone
    if timing.start:
        attributes["load_from"] = timing.start.isoformat()
    return _with(attributes | given, _pull(timing))


def _api(wanted: WantedIngestion, _: Store) -> dict[str, Any]:
    described = {"description": wanted.description or "One answer of the API."}
    source = {
        "name": wanted.name,
        "sink": {"table": f"bronze/{wanted.name}"},
        "quality": described,
        **wanted.source,
    }
    _refuse_other_name(wanted, source)
    return _with({"source": source}, _pull(wanted.timing))


def _database(wanted: WantedIngestion, _: Store) -> dict[str, Any]:
    attributes = {"name": wanted.name, "prefix": f"{wanted.name}_", **wanted.source}
    _refuse_other_name(wanted, attributes)
    return _with(attributes, _pull(wanted.timing))


def _stream(wanted: WantedIngestion, _: Store) -> dict[str, Any]:
    if wanted.timing.cron:
        raise ConfigError("schedule: a stream is read all the time; leave the schedule out")
    attributes = {
        "name": wanted.name,
        "description": wanted.description or "Records of a topic.",
        **wanted.source,
    }
    _refuse_other_name(wanted, attributes)
    return attributes


def below(landing: Store, path: str) -> str:
    """A folder as it lies below the landing root, also where the whole address was given. Raises ConfigError."""
    root = landing.root.rstrip("/")
    text = path.strip()
    if text.startswith(f"{root}/"):
        text = text[len(root) + 1 :]
    if "://" in text or text.startswith("/"):
        raise ConfigError(
            f"source.path: {path[:200]} does not lie below the landing root, {root}; copy the files there, or ask whoever "
            "runs the platform to set ASGARD_LANDING"
        )
    if not text.strip("/"):
        raise ConfigError("source.path: expected a folder below the landing root, such as orders")
    return text.strip("/")


def _format(given: str | Mapping[str, Any]) -> dict[str, Any]:
    found = {"type": given} if isinstance(given, str) else dict(given)
    if found.get("type") not in _FORMATS:
        raise ConfigError(
            f"format: {str(found.get('type'))[:50]!r} is no format; choose one of {', '.join(_FORMATS)}"
        )
    return found


def _pull(timing: Timing) -> dict[str, Any] | None:
    return {"cron": timing.cron} if timing.cron else None


def _with(attributes: dict[str, Any], pull: dict[str, Any] | None) -> dict[str, Any]:
    return attributes | ({"pull": pull} if pull else {})


def _refuse_other_name(wanted: WantedIngestion, attributes: Mapping[str, Any]) -> None:
    if attributes["name"] != wanted.name:
        raise ConfigError(f"source.name: it is {wanted.name}, as the ingestion; leave it out")


def _refuse_other_folders(wanted: WantedIngestion, path: str) -> None:
    """Accounts of single workspaces read folders below their workspace's own name."""
    if EVERYWHERE in wanted.folders or path.partition("/")[0] in (*wanted.folders,):
        return
    raise ConfigError(
        f"source.path: an account of the workspace {wanted.workspace} reads folders below {wanted.workspace}/; this is {path[:200]}"
    )
