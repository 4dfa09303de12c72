"""YAML that others wrote, before it is read: aliases of aliases, and what is nested thousands deep, are refused."""

from __future__ import annotations

import re
from pathlib import Path

from asgard_assets.errors import ConfigError

_MOST_NODES, _DEEPEST = 100_000, 100
# An alias, or what may be nested as deep in fewer letters than one would write.
_ALIAS = re.compile(r"(?:^|[\s\[,:{-])\*\w", re.MULTILINE)
_SUSPICIOUS = re.compile(rf"{_ALIAS.pattern}|(?:- ){{50}}|(?:\? ){{50}}|^ {{100}}", re.MULTILINE)


def refuse_bombs(text: str, file: str, most: int = _MOST_NODES) -> None:
    """Raises ConfigError where YAML is nested too deeply, or its aliases stand for too much. Nothing is built yet."""
    import yaml

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            sizes |= {anchor: size} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(str(event.anchor), 1)
        anchor, before = open_nodes[-1]
        open_nodes[-1] = (anchor, before + size)
        if before + size > most or len(open_nodes) > _DEEPEST:
            line = event.start_mark.line + 1
            why = (
                "it is nested too deeply"
                if len(open_nodes) > _DEEPEST
                else "it, with its aliases, is too long"
            )
            raise ConfigError(f"{file}:{line}: {why}; write it out, or split it", file=file, line=line)


def has_aliases(text: str) -> bool:
    """Whether something may stand for more than is written."""
    return bool(_ALIAS.search(text))


def may_be_bomb(text: str) -> bool:
    """Whether it is worth a look: most files have no alias and few brackets."""
    return bool(_SUSPICIOUS.search(text)) or text.count("[") + text.count("{") > _DEEPEST


def refuse_bombs_in(folder: Path) -> None:
    """The same for every `defs.yaml` below a folder, which Dagster is about to read."""
    for file in sorted(folder.rglob("defs.yaml")):
        text = file.read_text(encoding="utf-8", errors="replace")
        if may_be_bomb(text):
            _refuse_readable(text, str(file))


def _refuse_readable(text: str, file: str) -> None:
    import yaml

    try:
        refuse_bombs(text, file)
    except yaml.YAMLError:
        return  # who reads it says what is wrong, and where
