"""Reading a source's YAML or JSON file; every error names file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.models import ApiSource

_INSIDE = ("attributes", "source")  # where a Dagster component's defs.yaml keeps the source


def load(path: str | Path) -> ApiSource:
    """The source in a file: the model alone, or a component's `defs.yaml`. Raises ConfigError."""
    file = Path(path)
    try:
        text = file.read_text()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})", file=str(file)) from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {error.problem}", file=str(file), line=line) from error
    prefix: tuple[Any, ...] = ()
    if isinstance(document, dict) and "attributes" in document:
        prefix = _INSIDE
        attributes = document["attributes"]
        document = attributes.get("source") if isinstance(attributes, dict) else None
    try:
        return ApiSource.model_validate(document)
    except ValidationError as error:
        lines, problems = [], []
        for found in error.errors(include_input=False, include_url=False):
            line = _line(tree, (*prefix, *found["loc"]))
            lines.append(line)
            problems.append(f"{file}:{line}: {'.'.join(map(str, found['loc']))}: {found['msg']}")
        raise ConfigError("\n".join(problems), file=str(file), line=lines[0]) from None


def _line(node: yaml.Node | None, path: tuple[Any, ...]) -> int:
    """The line of the deepest node on `path` that the text has (a union's tag is in the path, not in it)."""
    line = _starts(node)
    for name in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(name)]
            if pairs:
                line, node = _starts(pairs[0][0]), pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
            node = node.value[name]
            line = _starts(node)
    return line


def _starts(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node and node.start_mark else 1
