"""What the published OpenAPI allows, and much that it does not: no request is answered with 500, and none is lost in 503."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["../../etc/passwd", "x' or 1=1 --", "${HOME}", "{{ 7*7 }}", "\x00", "a\nb: c", "* * * * *", "s3://b/../x", "é" * 300]),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)  # fmt: skip
SQL = st.sampled_from(
    ["select 1 as n", "select * from orders", "select * from source_data; drop table x", "select * from bronze.nothing",
     "with a as (select 1 as n) select n, count(*) from a group by all", "create temporary view v as select 1 as n; select * from v",
     "select * from read_parquet('/etc/passwd')", "select reflect('java.lang.System', 'exit')", "select", "(" * 500, "select 1 as n group by 7"]
)  # fmt: skip


class Shapes:
    """Values that a JSON Schema describes, with junk between them."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        self.known = openapi["components"]["schemas"]

    def of(self, schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
        right = self._right(schema, name)
        return st.one_of(right, right, right, right, JUNK)

    def _right(self, schema: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
        if "$ref" in schema:
            return self._right(self.known[schema["$ref"].rsplit("/", 1)[1]], name)
        if name in ("sql", "sql_query"):
            return SQL
        if "const" in schema or "enum" in schema:
            return st.sampled_from(schema.get("enum", [schema.get("const")]))
        if options := schema.get("anyOf"):
            return st.one_of([self._right(each, name) for each in options])
        return self._typed(schema)

    def _typed(self, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
        kind = schema.get("type")
        if kind == "object" and (fields := schema.get("properties")):
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: self.of(each, name) for name, each in fields.items() if name in required},
                optional={name: self.of(each, name) for name, each in fields.items() if name not in required},
            )
        if kind == "object":
            values = schema.get("additionalProperties")
            inner = self.of(values) if isinstance(values, dict) else JUNK
            return st.dictionaries(st.text(max_size=9), inner, max_size=3)
        if kind == "array":
            return st.lists(self.of(schema.get("items", {})), max_size=3)
        if kind == "string" and "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True)
        simple: dict[Any, st.SearchStrategy[Any]] = {
            "string": st.text(max_size=30), "integer": st.integers(-5, 10**6), "number": st.floats(), "boolean": st.booleans(),
            "null": st.none(),
        }  # fmt: skip
        return simple.get(kind, JUNK)


def sent(draw: Callable[..., Any], shapes: Shapes, path: str, found: dict[str, Any]) -> dict[str, Any]:
    """A request of one operation."""
    query, headers = dict[str, str](), dict[str, str]()
    for one in found.get("parameters", ()):
        value = draw(shapes.of(one["schema"], one["name"]))
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", quote(f"{value}"[:200], safe="") or "x")
        elif one["in"] == "query" and draw(st.booleans()):
            query[one["name"]] = f"{value}".encode(errors="replace").decode()
        elif one["in"] == "header" and value is not None and draw(st.booleans()):
            headers[one["name"]] = (
                f"{value}".encode("ascii", "ignore")
                .decode()
                .replace("\n", "")
                .replace("\x00", "")[:100]
                .strip()
            )
    content = found.get("requestBody", {}).get("content", {}).get("application/json")
    body = json.dumps(draw(shapes.of(content["schema"]))) if content else ""
    headers = {
        name: "".join(letter for letter in value if letter.isprintable()) for name, value in headers.items()
    }
    return {
        "url": path,
        "params": query,
        "content": body.encode(),
        "headers": {"Content-Type": "application/json", **headers},
    }


def fuzz(app: FastAPI, client: httpx.Client, caplog: pytest.LogCaptureFixture, examples: int) -> None:
    openapi = app.openapi()
    shapes = Shapes(openapi)
    operations = [
        (method, path, one) for path, found in openapi["paths"].items() for method, one in found.items()
    ]
    quiet = settings(
        max_examples=examples * len(operations), deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example, HealthCheck.function_scoped_fixture],
    )  # fmt: skip

    @seed(20)
    @quiet
    @given(st.data(), st.sampled_from(operations))
    def one(data: st.DataObject, operation: tuple[str, str, dict[str, Any]]) -> None:
        method, path, found = operation
        if path == "/mlops/status":
            return  # opens a registry
        request = sent(data.draw, shapes, path, found)
        answer = client.request(method, **request)
        told = f"{method} {request}: {answer.status_code} {answer.text[:500]}"
        assert answer.status_code not in (500, 502, 503), told
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", told
            assert answer.json()["detail"], told
        assert f"{answer.status_code}" in found["responses"] or answer.status_code in (304, 405), told

    one()
    assert not [record for record in caplog.records if record.exc_info]


def test_no_request_is_an_error_of_the_server(
    app: FastAPI, client: httpx.Client, sink: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    fuzz(app, client, caplog, 6)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_of_many_requests_none_is_an_error_of_the_server(
    app: FastAPI, client: httpx.Client, sink: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    fuzz(app, client, caplog, 2000)
