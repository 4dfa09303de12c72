"""The tools: one for each operation of the REST API, read from its own description, so that both stay the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.accounts.roles import May
from asgard_assets.gateway.agents.hints import HINTS, NAMES

_NO_TOOLS = ("/health", "/metrics", "/spark/transform", "/transformation")
"""What is for machines, and second routes of one operation."""
_NO_FIELDS = frozenset({"follow"})
"""A tool answers once: nothing is streamed."""
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True)
class Tool:
    """An operation. `fields`: where each argument goes (path, query, header); what is not there goes into the body."""

    name: str
    method: str
    path: str
    action: May
    description: str
    schema: Mapping[str, Any]
    fields: Mapping[str, tuple[str, str]]
    has_body: bool

    @property
    def reads(self) -> bool:
        return self.action is May.read

    def request(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent: method, url, params, headers, json. Raises ConfigError where an argument is missing or unknown."""
        body, path = dict(arguments), self.path
        sent: dict[str, Any] = {"params": [], "headers": {}}
        for field, (place, name) in self.fields.items():
            value = body.pop(field, None)
            if value is None:
                if place == "path":
                    raise ConfigError(f"{field}: the tool {self.name} needs it")
            elif place == "path":
                path = path.replace(f"{{{name}}}", quote(_text(value), safe=""))
            elif place == "header":
                sent["headers"][name] = _text(value).encode("ascii", "replace").decode()
            else:
                many = value if isinstance(value, list) else [value]
                sent["params"] += [(name, _text(one)) for one in many]
        if body and not self.has_body:
            known = ", ".join(self.fields) or "none"
            raise ConfigError(
                f"the tool {self.name} has no argument {', '.join(sorted(body))[:200]!r}; it has: {known}"
            )
        return {"method": self.method, "url": path, **sent} | ({"json": body} if self.has_body else {})


def tools_of(app: FastAPI) -> dict[str, Tool]:
    """Every tool by its name, in the order of the API's own list."""
    openapi, routes = app.openapi(), _routes(app)
    found = dict[str, Tool]()
    for path, methods in openapi["paths"].items():
        if path.startswith(_NO_TOOLS):
            continue
        for method, told in methods.items():
            route = routes[method, path]
            name = NAMES.get(f"{method} {path}", route.name)
            if name in found:
                raise ValueError(f"two operations are named {name}: {found[name].path} and {path}")
            found[name] = _tool(name, method, path, _action(route), told, openapi["components"]["schemas"])
    return found


def _tool(
    name: str, method: str, path: str, action: May, told: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Tool:
    fields, properties, required = dict[str, tuple[str, str]](), dict[str, Any](), list[str]()
    for one in told.get("parameters", ()):
        if one["name"] in _NO_FIELDS:
            continue
        field = one["name"].lower().replace("-", "_")
        fields[field] = (one["in"], one["name"])
        properties[field] = {**one["schema"], "description": one.get("description", f"The {field}.")}
        required += [field] if one.get("required") else []
    content = told.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        body = _resolved(content["schema"], schemas)
        if twice := properties.keys() & body["properties"].keys():
            raise ValueError(f"{name}: {twice} is in the path and in the body")
        properties |= body["properties"]
        required += body.get("required", [])
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    schema |= {"required": required} if required else {}
    known = dict(_reached(schema, schemas))
    schema = _renamed(schema | ({"$defs": known} if known else {}))
    description = "\n".join(part for part in (told.get("description", ""), HINTS.get(name, "")) if part)
    return Tool(name, method.upper(), path, action, description, schema, fields, bool(content))


def _routes(app: FastAPI) -> dict[tuple[str, str], APIRoute]:
    found = dict[tuple[str, str], APIRoute]()
    for each in iter_route_contexts(app.routes):
        route = each.original_route
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                found[method.lower(), str(each.path_format)] = route
    return found


def _action(route: APIRoute) -> May:
    """What the caller of a route must be allowed to do; one that does not say so is for admins."""
    return next(_actions(route.dependant), May.admin)


def _actions(found: Dependant) -> Iterator[May]:
    for each in found.dependencies:
        action = getattr(each.call, "action", None)
        if action is not None:
            yield action
        yield from _actions(each)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that a body is, also where it may be left out."""
    for one in schema.get("anyOf", (schema,)):
        if name := one.get("$ref", "").removeprefix(_REFERENCE):
            return schemas[name]
    return {"properties": {}}


def _reached(schema: Any, schemas: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The definitions that a schema refers to, and those that they refer to."""
    seen, waiting = set[str](), [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            name = one.get("$ref", "")
            if isinstance(name, str) and name.startswith(_REFERENCE) and name not in seen:
                seen.add(name)
                found = schemas[name.removeprefix(_REFERENCE)]
                waiting.append(found)
                yield name.removeprefix(_REFERENCE), found
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _renamed(schema: Any) -> Any:
    """With references into the schema itself."""
    return json.loads(json.dumps(schema).replace(f'"{_REFERENCE}', '"#/$defs/'))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
