"""Low-code manifests: which may come in. They may name airbyte-cdk's own components as classes, and nothing else.

This check is for an early and clear answer. A manifest can also put names together while it runs, so `guard.py`
refuses the same names inside the connector's process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployments.local.airbyte.protocol import ConnectorError

LOW_CODE = "source-declarative-manifest"

INJECTED = "__injected_declarative_manifest"
"""Where the low-code connector expects its manifest in the configuration."""

COMPONENTS = frozenset(Path(__file__).with_name("components.txt").read_text().split())
"""Names that `class_name` may have."""

_MOST_REFERENCES = 100


class UnsafeManifest(ConnectorError):
    """The configuration would make the connector run code that is not airbyte-cdk's."""


def check(command: str, config: Mapping[str, Any]) -> None:
    """Raise UnsafeManifest if a connector with this configuration could run code of the caller."""
    for key in config:
        if key.startswith("__injected") and (key != INJECTED or command != LOW_CODE):
            raise UnsafeManifest(
                f"{key}: {command} takes no code or manifest from its configuration; leave it out"
            )
    manifest = config.get(INJECTED)
    for value in _class_names(manifest):
        name = _resolved(value, manifest)
        if isinstance(name, str) and "." in name and name not in COMPONENTS:
            raise UnsafeManifest(f"class_name {name}: {_advice(name)}")


def _advice(name: str) -> str:
    same = (known for known in COMPONENTS if known.rpartition(".")[2] == name.rpartition(".")[2])
    if known := next(same, None):
        return f"write {known}"
    return "only airbyte-cdk's own components may be named here, and this is none of them; use a component's `type`"


def _class_names(manifest: Any) -> Iterator[Any]:
    """The value of every `class_name` in it, at any depth. A YAML file can hold a value that contains itself."""
    waiting, seen = [manifest], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict | list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            if "class_name" in node:
                yield node["class_name"]
            waiting += node.values()
        else:
            waiting += node


def _resolved(value: Any, manifest: Any) -> Any:
    """The value behind `{$ref: "#/a/b"}` and `"#/a/b"`, as airbyte-cdk looks it up."""
    for _ in range(_MOST_REFERENCES):
        if isinstance(value, dict) and "$ref" in value:
            value = value["$ref"]
        elif isinstance(value, str) and value.startswith("#/"):
            value = _at(value[2:], manifest)
        else:
            return value
    raise UnsafeManifest(f"a class_name is behind more than {_MOST_REFERENCES} references")


def _at(path: str, node: Any) -> Any:
    while path:
        if isinstance(node, dict) and path in node:
            return node[path]
        head, _, path = path.partition("/")
        try:
            node = node[int(head) if head.isdigit() else head]
        except (KeyError, IndexError, TypeError):
            return None
    return node
