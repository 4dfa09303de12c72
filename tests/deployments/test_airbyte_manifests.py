"""A low-code manifest runs no code of its own, however it hides it: refused where it comes in, and where it runs."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from asgard_assets.errors import ConfigError
from deployments.local.airbyte.connector import Connector, discover
from deployments.local.airbyte.files import Log
from deployments.local.airbyte.install import command
from deployments.local.airbyte.manifest import COMPONENTS, INJECTED, LOW_CODE, UnsafeManifest, check
from deployments.local.airbyte.protocol import ConnectorError
from deployments.local.airbyte.workspace import Workspace
from tests.checkout import ROOT
from tests.deployments.test_airbyte_server import PUBLIC
from tests.fakes.airbyte import Fake, run, serving
from tests.patience import patience

EXEC = "airbyte_cdk.sources.declarative.parsers.custom_code_compiler.register_components_module_from_string"
EXTRACTOR = "airbyte_cdk.sources.declarative.extractors.dpath_extractor.DpathExtractor"


def manifest(url: str = "http://127.0.0.1:9", extractor: Any = None, **more: Any) -> dict[str, Any]:
    """A source of one stream, `x`, with this extractor; `more` are parts beside the streams."""
    extractor = extractor or {"type": "DpathExtractor", "field_path": []}
    stream = {
        "type": "DeclarativeStream",
        "name": "x",
        "primary_key": [],
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": url, "path": "/rows", "http_method": "GET"},
            "record_selector": {"type": "RecordSelector", "extractor": extractor},
        },
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": {}}},
    }
    return {
        "version": "6.44.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["x"]},
        "streams": [stream],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
        **more,
    }


def executing(code: str) -> dict[str, Any]:
    """The fields with which airbyte-cdk's own function runs a text."""
    return {"components_py_text": code, "checksums": {"md5": hashlib.md5(code.encode()).hexdigest()}}


HIDDEN: dict[str, dict[str, Any]] = {
    "named": manifest(extractor={"type": "CustomRecordExtractor", "class_name": EXEC}),
    "without type": manifest(extractor={"class_name": "os.system"}),
    "parameter": manifest(extractor={"type": "CustomRecordExtractor", "$parameters": {"class_name": EXEC}}),
    "parameter of the source": manifest(**{"$parameters": {"class_name": EXEC}}),
    "reference": manifest(
        extractor={"type": "CustomRecordExtractor", "class_name": "#/definitions/it"}, definitions={"it": EXEC}
    ),
    "reference to a reference": manifest(
        extractor={"type": "CustomRecordExtractor", "class_name": {"$ref": "#/definitions/a/1"}},
        definitions={"a": ["", {"$ref": "#/definitions/b"}], "b": EXEC},
    ),
    "reference that is the name": manifest(
        extractor={"type": "CustomRecordExtractor", "class_name": {"$ref": EXEC}}
    ),
    "reference with a slash": manifest(
        extractor={"type": "CustomRecordExtractor", "class_name": "#/definitions/a/b"},
        definitions={"a": {"b": EXTRACTOR}, "a/b": "no"}, **{"definitions/a/b": EXEC},
    ),
    "component by reference": manifest(
        extractor={"$ref": "#/definitions/e"},
        definitions={"e": {"type": "CustomRecordExtractor", "class_name": EXEC}},
    ),
    "deep": manifest(definitions={"a": [[[{"b": [{"class_name": "subprocess.Popen"}]}]]]}),
    "requester": manifest(definitions={"r": {"type": "CustomRequester", "class_name": "components.Requester"}}),
}  # fmt: skip


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_class_that_is_not_airbytes_is_refused_where_the_manifest_comes_in(hidden, tmp_path):
    with pytest.raises(UnsafeManifest, match="class_name .*airbyte-cdk"):
        check(LOW_CODE, {INJECTED: hidden})
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(hidden))
    connection = {"name": "c", "source": LOW_CODE, "streams": [{"name": "x"}]}
    for given in ({"manifest": "m.yaml"}, {"config": {INJECTED: hidden}}):
        workspace = {"name": "w", "connections": [{**connection, **given}]}
        (tmp_path / "w.yaml").write_text(yaml.safe_dump(workspace))
        with pytest.raises(ConfigError, match=r"w\.yaml: connection c: class_name"):
            Workspace.read(tmp_path / "w.yaml")


def test_what_is_airbytes_own_or_no_class_at_all_is_let_in():
    for harmless in (
        manifest(),
        yaml.safe_load((ROOT / "deployments/local/airbyte/manifests/tickets.yaml").read_text()),
        manifest(extractor={"type": "CustomRecordExtractor", "class_name": EXTRACTOR, "field_path": []}),
        manifest(definitions={"schema": {"properties": {"class_name": {"type": "string"}}}}),
        manifest(definitions={"schema": {"class_name": {"$ref": "#/definitions/text"}}, "text": {}}),
        manifest(definitions={"request_parameters": {"class_name": "Maths 101"}}),
    ):
        check(LOW_CODE, {INJECTED: harmless})
    with pytest.raises(UnsafeManifest, match=f"write {EXTRACTOR}"):
        check(LOW_CODE, {INJECTED: manifest(extractor={"class_name": "airbyte_cdk.DpathExtractor"})})


def test_a_manifest_that_refers_to_itself_is_refused_in_no_time(tmp_path):
    circle = manifest(extractor={"class_name": "#/definitions/a"}, definitions={"a": "#/definitions/a"})
    with pytest.raises(UnsafeManifest, match="more than 100 references"):
        check(LOW_CODE, {INJECTED: circle})
    (tmp_path / "m.yaml").write_text("streams: &a [*a, {class_name: os.system}]")
    with pytest.raises(UnsafeManifest, match="os.system"):
        check(LOW_CODE, {INJECTED: yaml.safe_load((tmp_path / "m.yaml").read_text())})


def test_code_beside_the_manifest_and_manifests_for_other_connectors_are_refused():
    with pytest.raises(UnsafeManifest, match="__injected_components_py"):
        check(LOW_CODE, {INJECTED: manifest(), "__injected_components_py": "import os"})
    with pytest.raises(UnsafeManifest, match="source-crm takes no code or manifest"):
        check("source-crm", {INJECTED: manifest()})


def test_the_api_refuses_it_and_what_an_earlier_start_kept_does_not_run(tmp_path):
    fake = Fake(tmp_path)
    syncs = fake.open()
    workspace_id = syncs.registry.id
    definitions = f"{PUBLIC}/workspaces/{workspace_id}/definitions/declarative_sources"
    body = {"workspaceId": workspace_id, "name": "evil"}
    config = {"sourceType": "declarative-manifest", INJECTED: HIDDEN["named"]}
    with serving(syncs) as url:
        assert post(url + definitions, {**body, "manifest": HIDDEN["named"]}) == 422
        assert post(f"{url}{PUBLIC}/sources", {**body, "configuration": config}) == 422
    (stored,) = syncs.registry.sources.values()
    kept = {"id": "old", "name": "old", "command": LOW_CODE, "config": config}
    (fake.state / "resources" / "sources" / "old.json").write_bytes(orjson.dumps(kept))
    again = fake.open(config={"__injected_components_py": "import os"})
    with pytest.raises(UnsafeManifest, match="class_name"):
        again.discover("old")
    job = run(again)
    assert job.status == "failed" and "__injected_components_py" in job.reason
    assert stored.id in again.registry.sources


def post(url: str, body: Any) -> int:
    import requests

    return requests.post(url, json=body, timeout=patience(30)).status_code


# Where it runs ------------------------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[str]:
    """A server whose one record names a class: what a source that the caller owns may answer."""

    class Rows(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps([{"name": EXEC, "to": "../../../escaped", "url": "/rows"}]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rows)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Run:
    """The real low-code connector, started as the server starts it, with nothing checked before."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.owned = folder, folder / "owned"
        self.code = f"open({str(self.owned)!r}, 'w').write('ran')"
        self.log = Log(folder / "log", 1 << 20)

    def discover(self, manifest: dict[str, Any], **config: Any) -> list[dict[str, Any]]:
        return discover(command(LOW_CODE), {INJECTED: manifest, **config}, self.log, self.folder)

    def read(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        stream = {"name": "x", "json_schema": {}, "supported_sync_modes": ["full_refresh"]}
        chosen = {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}
        (self.folder / "config.json").write_text(json.dumps({INJECTED: manifest}))
        (self.folder / "catalog.json").write_text(json.dumps({"streams": [chosen]}))
        files = ["--config", str(self.folder / "config.json"), "--catalog", str(self.folder / "catalog.json")]
        with Connector(command(LOW_CODE), ["read", *files], self.log, self.folder) as running:
            return [m["record"]["data"] for m in running.messages() if m["type"] == "RECORD"]


@pytest.fixture
def connector(tmp_path: Path) -> Run:
    return Run(tmp_path)


def dynamic(url: str, code: str, resolver: dict[str, Any], value: str) -> dict[str, Any]:
    """A manifest that puts the class's name into the template of a stream while it runs."""
    custom = {"type": "CustomRecordExtractor", "class_name": EXTRACTOR, "field_path": [], **executing(code)}
    template = manifest(url, custom)["streams"][0]
    path = ["retriever", "record_selector", "extractor", "class_name"]
    mapping = {"type": "ComponentMappingDefinition", "field_path": path, "value": value}
    resolver = {**resolver, "components_mapping": [mapping]}
    stream = {
        "type": "DynamicDeclarativeStream",
        "stream_template": template,
        "components_resolver": resolver,
    }
    return manifest(url, dynamic_streams=[stream])


@pytest.mark.servers
def test_a_name_that_only_comes_up_while_it_runs_is_refused_there(connector, api):
    retriever = manifest(api)["streams"][0]["retriever"]
    answered = {"type": "HttpComponentsResolver", "retriever": retriever}
    configured = {
        "type": "ConfigComponentsResolver",
        "stream_config": {"type": "StreamConfig", "configs_pointer": ["classes"]},
    }
    for resolver, config in ((answered, {}), (configured, {"classes": [{"name": EXEC}]})):
        sneaky = dynamic(api, connector.code, resolver, "{{ components_values['name'] }}")
        check(LOW_CODE, {INJECTED: sneaky, **config})  # nothing to be seen from outside
        with pytest.raises(ConnectorError, match=f"class_name {EXEC}: only airbyte-cdk's own"):
            connector.discover(sneaky, **config)
        assert not connector.owned.exists()


@pytest.mark.servers
@pytest.mark.parametrize("hidden", ["named", "parameter", "reference to a reference"])
def test_a_class_that_came_in_all_the_same_is_refused_where_it_runs(connector, hidden):
    evil = copy.deepcopy(HIDDEN[hidden])
    evil["streams"][0]["retriever"]["record_selector"]["extractor"].update(executing(connector.code))
    with pytest.raises(ConnectorError, match=f"class_name {EXEC}: only airbyte-cdk's own"):
        connector.discover(evil)
    assert not connector.owned.exists()


@pytest.mark.servers
def test_airbytes_own_components_run_under_the_guard(connector, api):
    custom = {"type": "CustomRecordExtractor", "class_name": EXTRACTOR, "field_path": []}
    assert [row["name"] for row in connector.read(manifest(api, custom))] == [EXEC]


@pytest.mark.servers
def test_code_in_the_configuration_is_not_run_even_if_the_servers_environment_allows_it(
    connector, monkeypatch, api
):
    monkeypatch.setenv("AIRBYTE_ENABLE_UNSAFE_CODE", "true")
    checksums = executing(connector.code)["checksums"]
    more = {"__injected_components_py": connector.code, "__injected_components_py_checksums": checksums}
    with pytest.raises(ConnectorError, match="not permitted"):
        connector.discover(manifest(api), **more)
    assert not connector.owned.exists()


@pytest.mark.servers
def test_a_manifest_neither_imports_modules_nor_reads_or_writes_files(connector, api):
    (connector.folder / "secret.json").write_text('{"properties": {"stolen": {}}}')
    loader = {
        "type": "JsonFileSchemaLoader",
        "file_path": f"./json/{'../' * 20}{connector.folder}/secret.json",
    }
    reading = manifest(api)
    reading["streams"][0]["schema_loader"] = loader
    with pytest.raises(ConnectorError):
        connector.discover(reading)
    assert "write the schema into it (InlineSchemaLoader)" in (connector.folder / "log").read_text()
    writing = manifest(api)
    writing["streams"][0]["file_uploader"] = {
        "type": "FileUploader",
        "requester": writing["streams"][0]["retriever"]["requester"],
        "download_target_extractor": {"type": "DpathExtractor", "field_path": ["url"]},
        "filename_extractor": "{{ record['to'] }}",
    }
    with pytest.raises(ConnectorError, match="file_uploader"):
        connector.read(writing)


@pytest.mark.servers
@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ now_utc.__globals__['__builtins__']['open'](config['path'], 'w') }}",
        "{{ config.__class__.__init__.__globals__ }}",
        "{% set f = '{0.__class__.__mro__}'.format %}{{ f(config) }}",
        "{{ (''|attr('format'))('{0.__init__.__globals__}', now_utc) }}",
    ],
)
def test_jinja_stays_in_its_sandbox(connector, api, template):
    adding = manifest(api)
    field = {"path": ["got"], "value": template, "type": "AddedFieldDefinition"}
    adding["streams"][0]["transformations"] = [{"type": "AddFields", "fields": [field]}]
    try:
        rows = connector.read(adding)
    except ConnectorError as error:
        assert "unsafe" in str(error) or "undefined" in str(error), error
        return
    assert not any("object" in str(row.get("got")) or "<" in str(row.get("got")) for row in rows), rows


@pytest.mark.servers
def test_every_name_in_the_list_is_a_class_of_the_locked_airbyte_cdk():
    python = command(LOW_CODE).with_name("python")
    program = (
        "import importlib, json, sys\n"
        "for name in json.load(sys.stdin):\n"
        "    module, _, last = name.rpartition('.')\n"
        "    found = getattr(importlib.import_module(module), last)\n"
        "    assert isinstance(found, type) and found.__module__ == module, name\n"
    )
    subprocess.run([python, "-c", program], input=json.dumps(sorted(COMPONENTS)), text=True, check=True)
    assert all(name.startswith("airbyte_cdk.sources.declarative.") for name in COMPONENTS)
    assert importlib.util.find_spec("airbyte_cdk") is None, "the platform's own environment needs none of it"
