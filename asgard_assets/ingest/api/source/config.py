"""Reading a source's YAML or JSON file; every error names file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from asgard_assets.documents import refuse_bombs
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.models import ApiSource

_INSIDE = ("attributes", "source")  # where a Dagster component's defs.yaml keeps the source


def load(path: str | Path, name: str | None = None) -> ApiSource:
    """The source in a file: the model alone, or a component's `defs.yaml`. Raises ConfigError.

    `name`: which of them, where the file holds several documents.
    """
    text = _Text.read(Path(path), name)
    try:
        return ApiSource.model_validate(text.document)
    except ValidationError as error:
        problems = []
        for found in error.errors(include_input=False, include_url=False):
            inside = getattr(found.get("ctx", {}).get("error"), "at", "")
            at = tuple(found["loc"]) + tuple(filter(None, inside.split(".")))
            problems.append((text.line(at), text.field(at), found["msg"].removeprefix("Value error, ")))
        problems.sort(key=lambda problem: problem[0])
        raise ConfigError(
            "\n".join(f"{path}:{line}: {field}: {message}" for line, field, message in problems),
            file=str(path),
            line=problems[0][0],
            field=problems[0][1],
        ) from None


@contextmanager
def located(path: str | Path, name: str | None = None) -> Iterator[None]:
    """A ConfigError about the source in the file at `path` says file and line too.

    It carries `field`, a path in the source, or `mentions`, a text that stands in the field.
    """
    try:
        yield
    except ConfigError as error:
        text, known = _Text.read(Path(path), name), error.attributes
        at = known["field"].split(".") if "field" in known else text.mentioning(known.get("mentions"))
        if at is None or "file" in known:
            raise
        line, field = text.line(at), text.field(at)
        raise ConfigError(
            f"{path}:{line}: {field}: {error.message}",
            **known | {"file": str(path), "line": line, "field": field},
        ) from error


@dataclass(frozen=True)
class _Text:
    """A file as it was read, with the place of everything in it."""

    tree: yaml.Node | None
    prefix: tuple[str, ...]
    document: Any

    @classmethod
    def read(cls, file: Path, name: str | None) -> _Text:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read ({error.strerror})", file=str(file)) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise ConfigError(f"{file}:{line}: is no UTF-8 text", file=str(file), line=line) from error
        try:
            if file.suffix == ".json":
                json.loads(text)
                text = text.replace("\t", " ")  # JSON may be indented by tabs, YAML may not
            refuse_bombs(text, str(file))
            trees = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
            for each in trees:
                _refuse_repeated(each)
            documents = list(yaml.safe_load_all(text))
        except json.JSONDecodeError as error:
            message = f"{file}:{error.lineno}: {error.msg}"
            raise ConfigError(message, file=str(file), line=error.lineno) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{file}:{line}: {error.problem}", file=str(file), line=line) from error
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            message = f"{file}:{line}: the character {chr(error.character)!r} cannot stand in YAML"
            raise ConfigError(message, file=str(file), line=line) from error
        if not any(documents):
            raise ConfigError(f"{file}:1: the file is empty; it should hold a source", file=str(file), line=1)
        number = next((i for i, document in enumerate(documents) if name and _name(document) == name), 0)
        if len(documents) > 1 and _name(documents[number]) != name:
            raise ConfigError(f"{file}: holds {len(documents)} documents; give the source a file of its own")
        tree, document = trees[number], documents[number]
        if isinstance(document, dict) and "attributes" in document:
            attributes = document["attributes"]
            return cls(tree, _INSIDE, attributes.get("source") if isinstance(attributes, dict) else None)
        return cls(tree, (), document)

    def line(self, at: Sequence[Any]) -> int:
        """The line of the deepest node on the path `at`."""
        return _starts(self._walk(at)[-1][1])

    def field(self, at: Sequence[Any]) -> str:
        """The path as the text has it, without the tags of unions; a missing field is told by its name."""
        told = [str(name) for name, _ in self._walk(at)[1 + len(self.prefix) :]]
        if at and str(at[-1]) not in told[-1:]:
            told.append(str(at[-1]))
        return ".".join(told) or "the source"

    def mentioning(self, text: str | None) -> tuple[str, ...] | None:
        """The path of the first value that holds `text`; None where there is none."""
        if not text:
            return None
        return next((path for path, value in _scalars(self.document) if text in value), None)

    def _walk(self, at: Sequence[Any]) -> list[tuple[Any, yaml.Node | None]]:
        node, found = self.tree, [("", self.tree)]
        for name in (*self.prefix, *at):
            if isinstance(node, yaml.MappingNode):
                pairs = [(key, value) for key, value in node.value if key.value == str(name)]
                if pairs:
                    found.append((name, pairs[0][0]))
                    node = pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and str(name).isdigit() and int(name) < len(node.value):
                node = node.value[int(name)]
                found.append((name, node))
        return found


def _name(document: Any) -> str | None:
    """How the source of a document is called."""
    for key in _INSIDE:
        if isinstance(document, dict) and key in document:
            document = document[key]
    return document.get("name") if isinstance(document, dict) else None


def _scalars(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars(inner, (*path, str(name)))
    else:
        yield path, str(value)


def _starts(node: yaml.Node | None) -> int:
    return node.start_mark.line + 1 if node and node.start_mark else 1


def _refuse_repeated(node: yaml.Node | None, above: tuple[yaml.Node, ...] = ()) -> None:
    """YAML keeps the last of two equal keys without a word; one of them was meant to be something else.

    An anchor that holds an alias of itself would have no end.
    """
    if node in above:
        assert node is not None
        raise yaml.MarkedYAMLError(
            problem="an alias stands inside its own anchor", problem_mark=node.start_mark
        )
    if node is not None:
        above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} is given twice; first in line {seen[key.value]}",
                        problem_mark=key.start_mark,
                    )
                seen[key.value] = _starts(key)
            _refuse_repeated(value, above)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated(value, above)
