"""What is guessed from a description, and what is said of one that cannot be used."""

from __future__ import annotations

import json

import pytest
import yaml

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.openapi.marks import Finding, guessed, with_findings
from asgard_assets.ingest.api.openapi.writing import propose
from asgard_assets.ingest.api.source.models import ApiSource

ITEM = {"type": "object", "properties": {"id": {"type": "integer"}}}
BASIC = {"type": "basic", "username": "CHANGE-ME", "password": "env:SHOP_PASSWORD"}


def document(schema, parameters=(), schemes=None, security=None, **more):
    get = {
        "parameters": [{"in": "query", "schema": {"type": "integer"}, **one} for one in parameters],
        "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
    }
    body = {"openapi": "3.1.0", "info": {"title": "Shop"}, "paths": {"/orders": {"get": get}}, **more}
    if schemes:
        body |= {
            "components": {"securitySchemes": schemes},
            "security": security or [dict.fromkeys(schemes, [])],
        }
    return body


def written(tmp_path, body, path="/orders"):
    file = tmp_path / "spec.json"
    file.write_text(body if isinstance(body, str) else json.dumps(body))
    proposal = propose(file, path)
    told = yaml.safe_load(proposal.text)
    ApiSource.model_validate(told)
    return told


LOGINS = {
    "key in a query": ({"a": {"type": "apiKey", "in": "query", "name": "k"}}, {"type": "api_key", "key": "env:SHOP_KEY", "place": "query", "name": "k"}),
    "key in a cookie": ({"a": {"type": "apiKey", "in": "cookie", "name": "sid"}}, {"type": "api_key", "key": "env:SHOP_KEY", "place": "cookie", "name": "sid"}),
    "basic": ({"a": {"type": "http", "scheme": "Basic"}}, BASIC),
    "basic of Swagger 2.0": ({"a": {"type": "basic"}}, BASIC),
    "bearer": ({"a": {"type": "http", "scheme": "bearer"}}, {"type": "bearer", "token": "env:SHOP_TOKEN"}),
    "OpenID": ({"a": {"type": "openIdConnect"}}, {"type": "bearer", "token": "env:SHOP_TOKEN"}),
    "digest": ({"a": {"type": "http", "scheme": "digest"}}, BASIC | {"type": "digest"}),
    "client credentials": (
        {"a": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://x/t"}}}},
        {"type": "oauth2_client_credentials", "token_url": "https://x/t", "client_id": "CHANGE-ME", "client_secret": "env:SHOP_CLIENT_SECRET"},
    ),
    "client credentials of Swagger 2.0": (
        {"a": {"type": "oauth2", "flow": "application", "tokenUrl": "https://x/t"}},
        {"type": "oauth2_client_credentials", "token_url": "https://x/t", "client_id": "CHANGE-ME", "client_secret": "env:SHOP_CLIENT_SECRET"},
    ),
    "two keys together": (
        {"a": {"type": "apiKey", "in": "header", "name": "Api-Key"}, "b": {"type": "apiKey", "in": "header", "name": "Api-User"}},
        {"type": "api_keys", "keys": [{"key": "env:SHOP_KEY_API_KEY", "place": "header", "name": "Api-Key"}, {"key": "env:SHOP_KEY_API_USER", "place": "header", "name": "Api-User"}]},
    ),
    "what no source can do": ({"a": {"type": "mutualTLS"}}, {"type": "none"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGINS)
def test_a_login_is_told_from_its_scheme(tmp_path, name):
    schemes, expected = LOGINS[name]
    assert written(tmp_path, document({"type": "array", "items": ITEM}, schemes=schemes))["auth"] == expected


@pytest.mark.parametrize(
    "told, address",
    [("/oauth/token", "https://shop.example/oauth/token"), ("token", "https://shop.example/v9/token")],
)
def test_a_relative_address_for_tokens_is_the_servers(tmp_path, told, address):
    schemes = {"a": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": told}}}}
    servers = [{"url": "https://shop.example/v9"}]
    body = document({"type": "array", "items": ITEM}, schemes=schemes, servers=servers)
    assert written(tmp_path, body)["auth"]["token_url"] == address


def test_of_several_logins_the_first_that_needs_no_browser_is_taken(tmp_path):
    schemes = {
        "web": {"type": "oauth2", "flows": {"authorizationCode": {}}},
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
    }
    body = document({"type": "array", "items": ITEM}, schemes=schemes, security=[{"web": []}, {"key": []}])
    assert written(tmp_path, body)["auth"]["name"] == "X-Key"
    body["paths"]["/orders"]["get"]["security"] = []
    assert written(tmp_path, body)["auth"] == {"type": "none"}


def wrapped(**beside):
    return {"type": "object", "properties": {"orders": {"type": "array", "items": ITEM}, **beside}}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
PAGES = {
    "page and size": (
        {"type": "array", "items": ITEM}, [{"name": "pageNumber"}, {"name": "pageSize", "schema": {"maximum": 50}}],
        {"type": "page", "param": "pageNumber", "start": 1, "size_param": "pageSize", "size": 50},
    ),
    "pages from 0": (
        {"type": "array", "items": ITEM}, [{"name": "page", "schema": {"type": "integer", "minimum": 0}}],
        {"type": "page", "param": "page", "start": 0, "size_param": None, "size": 100},
    ),
    "offset with a total": (
        wrapped(total=NUMBER, offset=NUMBER, limit=NUMBER), [{"name": "offset"}, {"name": "limit"}],
        {"type": "offset", "param": "offset", "start": 0, "size_param": "limit", "size": 100, "total": "total"},
    ),
    "a token": (
        wrapped(meta={"type": "object", "properties": {"next_cursor": TEXT}}), [{"name": "cursor"}],
        {"type": "cursor", "param": "cursor", "cursor": "meta.next_cursor"},
    ),
    "an address": (
        wrapped(links={"allOf": [{"type": "object", "properties": {"next": TEXT}}]}), [],
        {"type": "next_url", "url": "links.next"},
    ),
    "nothing that tells": (wrapped(), [], {"type": "auto"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_told_from_parameters_and_answer(tmp_path, name):
    schema, parameters, expected = PAGES[name]
    assert written(tmp_path, document(schema, parameters))["form"]["pagination"] == expected


def test_a_schema_that_holds_itself_has_an_end(tmp_path):
    tree = {
        "type": "object",
        "properties": {"uuid": TEXT, "children": {"type": "array", "items": {"$ref": "#/x/tree"}}},
    }
    body = document({"type": "array", "items": {"$ref": "#/x/tree"}}, x={"tree": tree})
    assert written(tmp_path, body)["form"]["key"] == {"uuid": "string"}
    body["x"]["tree"] = {"allOf": [{"$ref": "#/x/tree"}]}
    assert written(tmp_path, body)["form"]["key"] == {}


def test_a_parameter_of_the_path_becomes_a_column_of_parents(tmp_path):
    body = document({"type": "array", "items": ITEM})
    body["paths"]["/v1/companies/{id}/orders/{line-no}"] = body["paths"].pop("/orders")
    told = written(tmp_path, body, "/v1/companies/{id}/orders/{line-no}")
    assert told["form"]["rows"]["key"] == {"company_id": "string", "line_no": "string"}
    assert told["endpoint"]["path"] == "/v1/companies/{row.company_id}/orders/{row.line_no}"


WRONG = {
    "unknown path": (document(ITEM), "/order", r"there is no path /order\. Paths with a GET near it: /orders"),
    "no list": (document(ITEM), "/orders", r"GET /orders has no list \(its fields: id\).*form: \{type: row\}"),
    "no GET": ({**document(ITEM), "paths": {"/orders": {"post": {}}}}, "/orders", r"/orders has no GET \(only POST\)"),
    "no paths": ({"openapi": "3.0.0", "info": {}}, "/orders", "has no `paths`"),
    "another file": (document({"$ref": "orders.json"}), "/orders", "'orders.json' stands in another file. Bundle"),
    "nowhere": (document({"$ref": "#/components/x"}), "/orders", "'#/components/x' leads nowhere"),
    "no description": ('{"name": "x"}', "/orders", "is no OpenAPI document .it has neither `openapi: 3.x` nor"),
    "old": ('{"swagger": "1.2"}', "/orders", "is no OpenAPI document .it says '1.2'"),
    "a list": ("[1]", "/orders", "is no OpenAPI document"),
    "broken JSON": ('{"openapi": ', "/orders", "spec.json:1: is no JSON"),
    "broken YAML": ("openapi: [", "/orders", "is neither JSON nor YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_said(tmp_path, name):
    body, path, error = WRONG[name]
    with pytest.raises(ConfigError, match=error):
        written(tmp_path, body, path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file"):
        propose(tmp_path / "none.yaml", "/orders")


def test_findings_are_written_in_place_of_the_guesses():
    text = "form:\n  items: data  # guessed: a\n  key: {id: bigint}  # guessed: b\nauth: {type: none}  # guessed: c\n"
    assert list(guessed(text)) == ["form.items", "form.key", "auth"]
    inside = "attributes:\n  source:\n" + "".join(f"    {line}\n" for line in text.splitlines())
    assert list(guessed(inside)) == ["form.items", "form.key", "auth"]
    assert guessed('{\n\t"form": 1}') == {}
    found = [
        Finding("form.items", "proven", "data", "a list of 2"),
        Finding("form.key", "corrected", {"uid": "string"}, "id repeats"),
        Finding("auth", "not seen", {"type": "none"}, "no answer"),
    ]
    assert with_findings(text, found) == (
        "form:\n  items: data  # proven: a list of 2\n  key: {uid: string}  # corrected: id repeats\n"
        "auth: {type: none}  # guessed: c\n"
    )


def test_a_description_in_several_files_is_read(tmp_path):
    """References count from the file that they stand in; YAML and JSON go together."""
    (tmp_path / "schemas").mkdir()
    page = {
        "type": "object",
        "properties": {"rows": {"$ref": "#/$defs/rows"}},
        "$defs": {"rows": {"type": "array", "items": {"$ref": "./order.yaml"}}},
    }
    (tmp_path / "schemas" / "page.json").write_text(json.dumps(page))
    key = {"type": "object", "required": ["id"], "properties": {"id": {"$ref": "../common.yaml#/types/id"}}}
    (tmp_path / "schemas" / "order.yaml").write_text(yaml.safe_dump(key))
    (tmp_path / "common.yaml").write_text("types:\n  id: {type: integer}\n")
    told = written(tmp_path, document({"$ref": "schemas/page.json"}))
    assert told["form"]["items"] == "rows"
    assert told["form"]["key"] == {"id": "bigint"}


@pytest.mark.parametrize("reference", ["../secret.json", "https://api.test/order.json", "/etc/hostname"])
def test_a_reference_out_of_the_folder_is_refused(tmp_path, reference):
    (tmp_path / "api").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    with pytest.raises(ConfigError, match="stands in another file"):
        written(tmp_path / "api", document({"$ref": reference}))
