"""JSON schemas for editors and reference pages for readers, both made from the models themselves."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel

from asgard_assets import project

SCHEMAS, PAGES, EXAMPLE = "docs/schemas", "docs/reference", ".env.example"
_MADE = "Made from the models by `asgard reference`; change the models, not this page."


def published(root: Path | None = None) -> dict[Path, str]:
    """Every generated file with the content it should have; `root` is the project's folder by default."""
    root = root or project.folder()
    files: dict[Path, str] = {}
    for name, (model, intro) in sorted(models().items()):
        schema = schema_of(model)
        text = json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True)
        files[root / SCHEMAS / f"{name}.json"] = text + "\n"
        files[root / PAGES / f"{name}.md"] = page(name, schema, intro)
    for example in (root / EXAMPLE, root / "deployments" / "project" / EXAMPLE):
        if example.is_file():
            files[example] = env_example(dotenv_values(example))
    return files


def env_example(given: Mapping[str, str | None]) -> str:
    """An `.env` file with every setting there is: its description and default, in comments; `given` is set."""
    from asgard_assets.resources.cluster import Cluster
    from asgard_assets.settings import Settings

    lines = [
        "# Settings of this machine. Every command reads the file .env beside pyproject.toml; real environment variables",
        "# come first (not with Dagster's own command: there this file does). Copy this file to .env and remove the #",
        "# before what you want to change.",
    ]
    for title, model, prefix in (
        ("Asgard", Settings, "ASGARD_"),
        ("On Kubernetes (ASGARD_LAUNCHER=kubernetes)", Cluster, ""),
    ):
        lines += ["", f"# --- {title}"]
        for name, field in model.model_fields.items():
            variable = f"{prefix}{name.upper()}" if prefix else str(field.alias)
            default = "" if field.is_required() else field.get_default(call_default_factory=True)
            lines += ["", f"# {_flat(field.description or '')}"]
            lines.append(
                f"{variable}={given[variable]}" if variable in given else f"# {variable}={_plain(default)}"
            )
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        home = str(Path.home())
        return str(value).replace(home, "~", 1) if str(value).startswith(home) else str(value)
    if isinstance(value, dict | tuple | list):
        return json.dumps(value)
    return "" if value is None else str(value)


def models() -> dict[str, tuple[type[BaseModel], str]]:
    """What people write in YAML: API sources, and the attributes of each component."""
    import dagster as dg

    import asgard_assets.components
    from asgard_assets.ingest.api.source.models import ApiSource

    found: dict[str, tuple[type[BaseModel], str]] = {
        "api_source": (ApiSource, "One API source, as a file of its own or as `source` of an `ApiIngest`.")
    }
    for module in pkgutil.iter_modules(asgard_assets.components.__path__, "asgard_assets.components."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ != module.name or not issubclass(kind, dg.Component):
                continue
            model = kind.get_model_cls()
            # Models that Dagster derives from a signature are documented by Dagster.
            if model is not None and model.__module__.startswith("asgard_assets."):
                intro = f"`attributes` of `type: {kind.__module__}.{kind.__name__}` in a `defs.yaml`."
                found[_snake(kind.__name__)] = (model, intro)
    return found


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema, the same in every process."""
    schema = model.model_json_schema()
    return _steady({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema)


def _steady(node: Any) -> Any:
    if isinstance(node, dict):
        steady = {name: _steady(value) for name, value in node.items()}
        if steady.get("uniqueItems") and isinstance(steady.get("default"), list):
            steady["default"] = sorted(steady["default"])
        if isinstance(steady.get("default"), dict):
            # What a whole section defaults to is told by its own fields.
            del steady["default"]
        return steady
    return [_steady(value) for value in node] if isinstance(node, list) else node


def page(name: str, schema: Mapping[str, Any], intro: str) -> str:
    """The reference page: a table of fields for the model, and one for each model inside it."""
    lines = [f"# {name}", "", f"{intro} {_MADE}", ""]
    lines.append(f"Editors check and complete it with [{name}.json](../schemas/{name}.json).")
    if schema.get("description"):
        lines += ["", _flat(schema["description"])]
    lines += ["", *_table(schema, schema)]
    for title in _order(schema):
        inner = schema["$defs"][title]
        lines += ["", f"## {title}", ""]
        if inner.get("description"):
            lines += [_flat(inner["description"]), ""]
        lines += _table(inner, schema) if "properties" in inner else [_kind(inner)]
    if name == "api_source":
        from asgard_assets.ingest.api.source.filters import DESCRIPTIONS

        lines += [
            "",
            "## Transforms",
            "",
            "In a template after `|`, or in `transform`, applied in order.",
            "",
        ]
        lines += ["| transform | gives |", "| --- | --- |"]
        lines += [f"| `{transform}` | {text} |" for transform, text in DESCRIPTIONS.items()]
    return "\n".join(lines) + "\n"


def described(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What is said of a field: its own description, else that of the model it refers to."""
    model = schema.get("$defs", {}).get(field.get("$ref", "").rsplit("/", 1)[-1], {})
    return field.get("description") or model.get("description", "")


def _table(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    lines = ["| field | type | default | what |", "| --- | --- | --- | --- |"]
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "**required**" if name in required else _default(field.get("default"))
        lines.append(f"| `{name}` | {_kind(field)} | {default} | {_flat(described(field, whole))} |")
    return lines


def _default(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        title = field["$ref"].rsplit("/", 1)[-1]
        return f"[{title}](#{title.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(
                dict.fromkeys(_kind(one) for one in field[several] if one.get("type") != "null")
            )
    kind = field.get("type", "any JSON")
    if kind == "array":
        return f"list of {_kind(field.get('items', {}))}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"mapping to {_kind(field['additionalProperties'])}"
    return str(kind)


def _order(schema: Mapping[str, Any]) -> list[str]:
    """Models in the order in which a reader meets them."""
    seen: dict[str, None] = {}

    def visit(node: Any) -> None:
        for title in _refs(node):
            if title not in seen:
                seen[title] = None
                visit(schema["$defs"][title])

    visit({name: value for name, value in schema.items() if name != "$defs"})
    return list(seen)


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value.rsplit("/", 1)[-1]
            elif name != "discriminator":
                yield from _refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def write(root: Path | None = None) -> list[Path]:
    """Bring every generated file up to date; gives back those that changed."""
    changed = []
    for path, text in published(root).items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            changed.append(path)
    return changed
