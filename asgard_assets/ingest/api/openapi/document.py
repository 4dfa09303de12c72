"""An API's own description: OpenAPI 3.0 and 3.1, Swagger 2.0, as JSON or YAML."""

from __future__ import annotations

import difflib
import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from asgard_assets.documents import has_aliases, refuse_bombs
from asgard_assets.errors import ConfigError

_DEPTH = 12  # of references and `allOf`: some descriptions go round


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation. `kind` is its JSON type."""

    name: str
    place: str
    required: bool
    schema: Mapping[str, Any]
    description: str

    @property
    def kind(self) -> str:
        return kind_of(self.schema)


@dataclass(frozen=True)
class Listing:
    """What the description says about one GET: its parameters, its answer, who may ask."""

    path: str
    parameters: tuple[Parameter, ...]
    answer: Mapping[str, Any]
    headers: frozenset[str]
    security: tuple[Mapping[str, Any], ...] | None

    def query(self) -> dict[str, Parameter]:
        return {one.name: one for one in self.parameters if one.place == "query"}


@contextmanager
def well_formed(file: Path) -> Iterator[None]:
    """Where a node is of another kind than OpenAPI says, such as a text in place of an object, the document is at fault:
    raises ConfigError."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file}: is not written as OpenAPI says ({type(error).__name__}: {error}). A validator of OpenAPI documents "
            "names the place"
        ) from error


@dataclass(frozen=True)
class Document:
    """A description that was read, with what every `$ref` leads to: in its file, or in a file beside or below it."""

    file: Path
    body: Mapping[str, Any]
    paths: Mapping[str, Any] = field(default_factory=dict[str, Any])
    beside: dict[str, Any] = field(
        default_factory=dict[str, Any]
    )  # other files of the description, by their names

    @classmethod
    def read(cls, file: Path) -> Document:
        """Raises ConfigError where the file is no description of an API, and says what it is."""
        body = _parsed(file)
        version = str(body.get("openapi") or body.get("swagger") or "") if isinstance(body, Mapping) else ""
        if not version.startswith(("3.", "2.0")):
            found = f"it says {version!r}" if version else "it has neither `openapi: 3.x` nor `swagger: 2.0`"
            raise ConfigError(f"{file}: is no OpenAPI document ({found}). Give the API's own description")
        paths = body.get("paths")
        if not isinstance(paths, Mapping) or not paths:
            raise ConfigError(f"{file}: the document has no `paths`, so there is nothing to read from")
        return cls(file, body, paths)

    @property
    def title(self) -> str:
        return " ".join(str((self.body.get("info") or {}).get("title") or "api").split())

    @property
    def servers(self) -> tuple[str, ...]:
        """Addresses that paths are appended to, with the defaults of their variables."""
        if "host" in self.body or "swagger" in self.body:
            scheme = next(iter(self.body.get("schemes") or ["https"]))
            host = self.body.get("host")
            return (f"{scheme}://{host}{self.body.get('basePath', '').rstrip('/')}",) if host else ()
        found = []
        for server in self.body.get("servers") or ():
            url = str(server.get("url", ""))
            for name, variable in (server.get("variables") or {}).items():
                url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
            found.append(url.rstrip("/"))
        return tuple(url for url in found if url.startswith(("http://", "https://")))

    @property
    def below(self) -> str:
        """The path that servers of no host of their own name, such as `/api/v1`."""
        found = next((str(one.get("url", "")) for one in self.body.get("servers") or ()), "")
        found = found or str(self.body.get("basePath") or "")
        return found.rstrip("/") if found.startswith("/") and not found.startswith("//") else ""

    @property
    def schemes(self) -> Mapping[str, Any]:
        """The security schemes by name."""
        inside = self.body.get("components") or {}
        return self.body.get("securityDefinitions") or inside.get("securitySchemes") or {}

    def resolved(self, node: Any) -> Any:
        """The node, or what its `$ref` leads to. Raises ConfigError where that leads nowhere, or too far."""
        for _ in range(_DEPTH):
            if not (isinstance(node, Mapping) and isinstance(node.get("$ref"), str)):
                return node
            node = self._target(node["$ref"])
        return {}

    def _target(self, reference: str) -> Any:
        name, _, pointer = reference.partition("#")
        found: Any = self._file(name) if name else self.body
        for part in pointer.strip("/").split("/") if pointer.strip("/") else ():
            name = part.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
            if isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                raise ConfigError(f"{self.file}: {reference!r} leads nowhere in this document")
        return found

    def _file(self, name: str) -> Any:
        """Another file of the description; its own references count from where it lies."""
        if name not in self.beside:
            folder = self.file.resolve().parent
            place = (folder / unquote(name)).resolve()
            if "://" in name or not place.is_relative_to(folder) or not place.is_file():
                raise ConfigError(
                    f"{self.file}: {name!r} stands in another file. Bundle the document into one file first, or put "
                    "that file beside it"
                )
            self.beside[name] = _relative(_parsed(place), name)
        return self.beside[name]

    def flat(self, schema: Any, depth: int = _DEPTH) -> Mapping[str, Any]:
        """The schema with `allOf` merged; of `oneOf` and `anyOf` the first that is not null."""
        node = self.resolved(schema)
        if not isinstance(node, Mapping) or depth <= 0:
            return {}
        merged = {name: value for name, value in node.items() if name not in ("allOf", "oneOf", "anyOf")}
        several = [*(node.get("allOf") or ())]
        for name in ("oneOf", "anyOf"):
            real = [one for one in node.get(name) or () if self.resolved(one).get("type") != "null"]
            several += real[:1]
        for part in several:
            inner = self.flat(part, depth - 1)
            properties = {**(merged.get("properties") or {}), **(inner.get("properties") or {})}
            required = [*(merged.get("required") or ()), *(inner.get("required") or ())]
            merged = {**inner, **merged}
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged

    def listing(self, path: str) -> Listing:
        """The GET of a path. Raises ConfigError that names near paths where there is none."""
        item = self.resolved(self.paths.get(path))
        if not isinstance(item, Mapping):
            raise ConfigError(f"{self.file}: there is no path {path}. {self._near(path)}")
        get = item.get("get")
        if not isinstance(get, Mapping):
            has = ", ".join(name.upper() for name in item if name in ("post", "put", "patch", "delete"))
            raise ConfigError(f"{self.file}: {path} has no GET (only {has or 'nothing'}). {self._near(path)}")
        answer, headers = self._answer(path, get)
        told = {}
        for one in (*(item.get("parameters") or ()), *(get.get("parameters") or ())):
            found = self._parameter(one)
            told[found.place, found.name] = found
        security = get["security"] if "security" in get else self.body.get("security")
        return Listing(
            path, tuple(told.values()), answer, headers, None if security is None else tuple(security)
        )

    def lists(self) -> Iterator[str]:
        """Paths that can be asked by GET."""
        return (path for path, item in self.paths.items() if "get" in (self.resolved(item) or {}))

    def _near(self, path: str) -> str:
        known = list(self.lists())
        low = {one.lower(): one for one in known}
        near = [low[one] for one in difflib.get_close_matches(path.lower(), low, 5, 0.5)]
        words = [part for part in path.lower().split("/") if part and "{" not in part]
        near += [one for one in known if words and words[-1] in one.lower() and one not in near]
        shown = near[:5] or known[:5]
        return f"Paths with a GET {'near it' if near else 'are, among others'}: {', '.join(shown) or 'none'}"

    def _parameter(self, node: Any) -> Parameter:
        one = self.resolved(node)
        content = next(iter((one.get("content") or {}).values()), {})
        schema = self.flat(one.get("schema") or content.get("schema") or one)
        required = bool(one.get("required"))
        return Parameter(
            one["name"], one["in"], required, schema, " ".join(str(one.get("description") or "").split())
        )

    def _answer(self, path: str, get: Mapping[str, Any]) -> tuple[Mapping[str, Any], frozenset[str]]:
        answers = {str(status): self.resolved(one) for status, one in (get.get("responses") or {}).items()}
        good = [status for status in sorted(answers) if status.startswith("2")] or ["default"]
        answer = answers.get(good[0]) or {}
        headers = frozenset(name.lower() for name in answer.get("headers") or ())
        if "schema" in answer:
            return self.flat(answer["schema"]), headers
        content = answer.get("content") or {}
        kinds = sorted(content, key=lambda kind: "json" not in kind)
        schema = self.flat((content[kinds[0]] or {}).get("schema") or {}) if kinds else {}
        return schema, headers


def _relative(node: Any, name: str) -> Any:
    """The node of the file `name`, with its references as the document itself would write them."""
    if isinstance(node, list):
        return [_relative(inner, name) for inner in node]
    if not isinstance(node, Mapping):
        return node
    told = {key: _relative(inner, name) for key, inner in node.items()}
    reference = told.get("$ref")
    if isinstance(reference, str) and "://" not in reference:
        file, _, pointer = reference.partition("#")
        told["$ref"] = (
            f"{posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name}#{pointer}"
        )
    return told


def kind_of(schema: Mapping[str, Any]) -> str:
    """The JSON type of a schema, with null left out; empty where it says none."""
    said = schema.get("type")
    if isinstance(said, list):
        said = next((one for one in said if one != "null"), "")
    if said:
        return str(said)
    return "object" if "properties" in schema else "array" if "items" in schema else ""


_MOST_NODES = 5_000_000  # the largest descriptions of known APIs have half a million


def _parsed(file: Path) -> Any:
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is no UTF-8 text") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as broken:
        if text.lstrip().startswith(("{", "[")):
            raise ConfigError(f"{file}:{broken.lineno}: is no JSON ({broken.msg})") from broken
    except RecursionError:
        raise ConfigError(f"{file}: it is nested too deeply") from None
    try:
        if has_aliases(text):
            refuse_bombs(text, str(file), _MOST_NODES)
        return yaml.safe_load(text)
    except RecursionError:
        raise ConfigError(f"{file}: it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{file}: is neither JSON nor YAML ({' '.join(str(error).split()):.200})"
        ) from error
