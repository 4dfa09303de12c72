"""Writes a scaffolded file; the same for every kind of component."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster.components.component_scaffolding import scaffold_component


def write(request: dg.ScaffoldRequest[Any], comment: str, attributes: str) -> None:
    """Write the `defs.yaml` of a component: `attributes` is the text of that section, comments included.

    A Python file, and a file that `dg` adds to, get the values without the comments.
    """
    if request.scaffold_format == "python" or request.append:
        scaffold_component(request, yaml.safe_load(attributes) or {})
        return
    kind = request.type_name
    lines = [*comment.splitlines(), f"All fields: dg utils inspect-component {kind}"]
    text = "".join(f"# {line}\n" for line in lines) + f"type: {kind}\n\nattributes:\n{attributes}"
    (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def name_for(path: Path) -> str:
    """A name for a table, from the last folder or file of the path."""
    return re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_") or "table"


def inline(value: Any) -> str:
    """The value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").strip()
