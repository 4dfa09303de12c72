"""The API serves what the source documents write: `contract.yaml` against the published OpenAPI, and against answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

from asgard_assets.gateway import bodies

ROWS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("contract.yaml").read_text())
BUILT = [row for row in ROWS if row["state"] == "built"]


def named(row: dict[str, Any]) -> str:
    return f"{row['method']} {row['path']}"


def schema(openapi: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for."""
    reference = found.get("$ref") or next(
        (part["$ref"] for part in found.get("allOf", ()) if "$ref" in part), None
    )
    return openapi["components"]["schemas"][reference.rsplit("/", 1)[1]] if reference else found


def body_of(openapi: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    operation = openapi["paths"][row["path"]][row["method"]]
    return schema(openapi, operation["requestBody"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize("row", BUILT, ids=named)
def test_a_row_of_the_documents_is_served(row: dict[str, Any], app: FastAPI):
    openapi = app.openapi()
    operation = openapi["paths"][row["path"]][row["method"]]
    assert operation["description"]
    assert str(row["status"]) in operation["responses"]
    assert {str(status) for status in row.get("refuses", ())} <= operation["responses"].keys()
    parameters = {one["name"] for one in operation.get("parameters", ())}
    assert set(row.get("query", ())) <= parameters
    content = operation["responses"][str(row["status"])].get("content", {})
    if "answers" in row:
        found = schema(openapi, content["application/json"]["schema"])
        assert set(row["answers"]) <= found["properties"].keys()
    if "body" in row:
        assert_fields(openapi, row)


def assert_fields(openapi: dict[str, Any], row: dict[str, Any]) -> None:
    found = body_of(openapi, row)
    for path, wanted in row["body"].items():
        holder, name = found, path
        if "." in path:
            outer, name = path.split(".")
            holder = schema(openapi, found["properties"][outer])
        field = holder["properties"][name]
        assert field.get("description"), path
        assert (name in holder.get("required", ())) == wanted.get("required", False), path
        assert field.get("default") == wanted.get("default"), path
        if "values" in wanted:
            assert field["enum"] == wanted["values"], path


def test_no_endpoint_is_served_that_the_contract_does_not_know(app: FastAPI):
    known = {(row["method"], row["path"]) for row in ROWS}
    also = {("get", "/health/ready"), ("get", "/ingestion")}
    also |= {("get", f"{prefix}{rest}") for prefix in ("/spark/transform", "/transformation") for rest in
             ("/jobs", "/{run_id}/logs", "/{run_id}/events", "/{run_id}/metrics")}  # fmt: skip
    served = {(method, path) for path, found in app.openapi()["paths"].items() for method in found}
    assert served - known == also


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (bodies.NewSource, {"source_type": "postgres", "name": "n", "source_config": {"host": "h"}}),
        (bodies.NewSink, {"name": "n", "destination_config": {"s3_bucket_name": "b", "s3_bucket_path": "p"}}),
        (
            bodies.NewIngestion,
            {"source_id": "s", "destination_id": "d", "connection_name": "c", "schedule": "0 * * * *"},
        ),
        (bodies.NewTransform, {"sql": "select 1"}),
    ],
    ids=lambda found: getattr(found, "__name__", ""),
)
def test_every_spelling_of_a_field_is_read(model: Any, given: dict[str, Any]):
    spellings = {
        path.rpartition(".")[2]: wanted["also"]
        for row in BUILT
        for path, wanted in row.get("body", {}).items()
        if "also" in wanted
    }
    plain = model.model_validate(given)

    def respelled(found: dict[str, Any]) -> dict[str, Any]:
        return {
            spellings.get(name, [name])[0]: respelled(value) if name == "destination_config" else value
            for name, value in found.items()
        }

    assert respelled(given) != given
    assert model.model_validate(respelled(given)) == plain


def test_the_pages_of_the_api_are_there(client: httpx.Client):
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 200


OTHER: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("rows.yaml").read_text())
# 08, 16 and 17 of the second document are about catalogs: tests/catalogs holds them.
FEATURES = {
    *(f"000-{number:02}" for number in range(1, 41) if number != 23), *(f"000-{number}c" for number in (41, 42, 43, 44)),
    *(f"001-{number:02}" for number in range(1, 29) if number not in (8, 16, 17, 25, 27)),
}  # fmt: skip


def test_every_row_of_the_documents_has_an_endpoint_or_a_test():
    served = {feature for row in BUILT for feature in row["features"]}
    assert FEATURES - served == OTHER.keys() - served
    tests = Path(__file__).parents[1]
    for feature, places in OTHER.items():
        for place in places:
            file, _, name = place.partition("::")
            assert (tests / file).is_file() and f"def {name or 'test_'}" in (tests / file).read_text(), (
                feature,
                place,
            )
