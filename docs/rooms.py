"""The picture of rooms and arrows in docs/architecture.md, made from the imports: `python -m docs.rooms`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "asgard_assets"
PAGE = ROOT / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ENGINES = {
    "api": ["plan", "table", "openapi", "lists", "access", "rate", "http", "source", "values"],
    "files": ["plan", "table", "shape", "readers", "landing", "source"],
}
"""Rooms of the two engines, from the top to what everybody may import."""


def imports() -> dict[str, set[str]]:
    """For each module, the modules of this project that it imports anywhere in its text."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        needs: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asgard_assets"):
                module = node.module or ""
                for one in node.names:
                    whole = f"{module}.{one.name}"
                    needs.add(whole if whole in MODULES else module)
            elif isinstance(node, ast.Import):
                needs |= {one.name for one in node.names if one.name.startswith("asgard_assets.")}
        found[name] = {need for need in needs if need in MODULES and need != name}
    return found


def rooms() -> Counter[str]:
    """How many Python files each folder below `asgard_assets` holds, its `__init__.py` included."""
    return Counter(str(path.parent.relative_to(ROOT)) for path in MODULES.values())


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[1:2] == ["ingest"] and len(parts) > 2:
        return f"ingest.{parts[2]}"
    if parts[1:2] == ["defs"] or parts[1:2] == ["definitions"]:
        return "definitions, defs"
    return parts[1] if len(parts) > 1 else ""


def _inner(engine: str, module: str) -> str:
    parts = module.split(".")
    return parts[3] if len(parts) > 4 or parts[-1] in ENGINES[engine] else "top"


def _graph(title: str, arrows: set[tuple[str, str]], order: list[str]) -> str:
    lines = ["```mermaid", "flowchart TD"]
    names = [name for name in order if any(name in arrow for arrow in arrows)]
    names += sorted({name for arrow in arrows for name in arrow} - set(names))
    key = {name: f"r{number}" for number, name in enumerate(names)}
    lines += [f'  {key[name]}["{name}"]' for name in names]
    kept = {(a, b) for a, b in arrows if not _reached(arrows - {(a, b)}, a, b)}
    lines += [
        f"  {key[a]} --> {key[b]}"
        for a, b in sorted(kept, key=lambda pair: (names.index(pair[0]), names.index(pair[1])))
    ]
    return "\n".join([f"**{title}**", "", *lines, "```"])


def _reached(arrows: set[tuple[str, str]], start: str, end: str) -> bool:
    """Whether `end` is reached from `start` by other arrows: then the arrow between them adds nothing."""
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for a, b in arrows:
            if a == here and b not in seen:
                seen.add(b)
                waiting.append(b)
    return end in seen


def picture() -> str:
    """Three graphs in Mermaid: the package, and the rooms of the two engines. Arrows that follow from others are left out."""
    graph = imports()
    outer = {
        (_room(a), _room(b))
        for a, needs in graph.items()
        for b in needs
        if _room(a) != _room(b) and _room(a) and _room(b)
    }
    parts = [
        _graph(
            "The package",
            outer,
            ["cli", "doctor", "reference", "operations", "demo", "definitions, defs", "components"],
        )
    ]
    for engine, order in ENGINES.items():
        prefix = f"asgard_assets.ingest.{engine}."
        inner = {
            (_inner(engine, a), _inner(engine, b))
            for a, needs in graph.items()
            if a.startswith(prefix)
            for b in needs
            if b.startswith(prefix) and _inner(engine, a) != _inner(engine, b)
        }
        title = {"api": "The API engine", "files": "The file engine"}[engine]
        parts.append(_graph(title, inner, ["top", *order]))
    return "\n\n".join(parts)


def write() -> None:
    """Put today's picture into the page, between its two marks."""
    text = PAGE.read_text(encoding="utf-8")
    marks = r"(<!-- rooms: begin -->\n).*?(<!-- rooms: end -->)"
    PAGE.write_text(
        re.sub(marks, lambda m: m[1] + picture() + "\n" + m[2], text, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    write()
