"""Public API descriptions: the source that is written from each, proven against a server that answers by it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asgard_assets.ingest.api.openapi.document import Document
from asgard_assets.ingest.api.openapi.writing import propose
from asgard_assets.ingest.api.pipeline import run_pipeline
from asgard_assets.ingest.api.plan.calendar import today
from asgard_assets.operations.new.source import correct, prove
from tests.fakes.described_api import (
    SECRET,
    Api,
    Paging,
    addressed,
    basic,
    bearer,
    by_token,
    numbered,
    put,
    resolved,
    served,
    skipped,
    values,
)  # fmt: skip

DOCUMENTS = Path(__file__).parent / "documents"


@dataclass(frozen=True)
class Case:
    """What is true of an API: its list, its login. `found`: the state of each guess, where it is not proven."""

    path: str
    paging: Paging
    items: str
    key: str
    login: tuple[str, str] | None = None
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cap: int = 1000
    found: Mapping[str, str] = field(default_factory=dict)
    token_path: str = ""
    below: str = ""


CASES = {
    "github.json": Case(
        "/repos/{owner}/{repo}/issues", numbered("page", "per_page", link=True), "", "id", bearer(),
        {"owner": ("ada", "bob"), "repo": ("sun", "moon")}, found={"auth": "corrected"},
    ),
    "netlify.json": Case(
        "/sites/{site_id}/deploys", numbered("page", "per_page"), "", "id", bearer(), {"site_id": ("s1", "s2")},
        below="/api/v1",
    ),
    "okta.yaml": Case(
        "/api/v1/users", by_token("after", "limit", "", link=True), "", "id", ("authorization", f"SSWS {SECRET}"),
        found={"form.pagination": "corrected"},
    ),
    "figma.yaml": Case(
        "/v1/teams/{team_id}/components", by_token("after", "page_size", "meta.cursor.after", ..., number=True),
        "meta.components", "key", ("x-figma-token", SECRET), {"team_id": ("t1", "t2")},
    ),
    "asana.json": Case(
        "/projects/{project_gid}/tasks",
        addressed("offset", "limit", "next_page.uri", {"next_page.offset": ""}), "data", "gid", bearer(),
        {"project_gid": ("p1", "p2")}, found={"form.pagination": "corrected"},
    ),
    "zoom.json": Case("/users", by_token("next_page_token", "page_size", "next_page_token", ""), "users", "id", bearer()),
    "discourse.json": Case(
        "/admin/users/list/{flag}.json", numbered("page", None, start=0), "", "id", None,
        {"flag": ("active", "new")}, cap=10, found={"form.pagination": "corrected"},
    ),
    "jira.json": Case(
        "/rest/api/3/project/search", skipped("startAt", "maxResults", "total", "isLast", "nextPage"), "values", "id",
        basic("asgard"),
    ),
    "launchdarkly.yaml": Case(
        "/members", skipped("offset", "limit", "totalCount", next_="_links.next.href", relative=True), "items", "_id",
        ("authorization", SECRET), below="/api/v2",
    ),
    "gitea.json": Case(
        "/repos/{owner}/{repo}/issues", numbered("page", "limit", link=True), "", "id", basic("asgard"),
        {"owner": ("ada",), "repo": ("sun",)}, cap=7, below="/api/v1",
    ),
    "twilio.json": Case(
        "/v1/Services", addressed("Page", "PageSize", "meta.next_page_url"), "services", "sid", basic("asgard")
    ),
    "kubernetes.yaml": Case(
        "/api/v1/namespaces/{namespace}/configmaps", by_token("continue", "limit", "metadata.continue", ""), "items",
        "metadata.uid", bearer(), {"namespace": ("a", "b")},
    ),
    "velo.json": Case(
        "/v1/deltas/payments", numbered("page", "pageSize", pages="page.totalPages"), "content", "paymentId", bearer(),
        token_path="/v1/login",
    ),
}  # fmt: skip


def no_spark():
    raise AssertionError("so small a job needs no Spark")


def lists_of(case: Case, document: Any) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The rows of each path that the server has, by the document's schemas; and an answer without rows."""
    get = document["paths"][case.path]["get"]
    answer = resolved(document, get["responses"].get("200") or get["responses"]["default"])
    schema = answer.get("schema") or next(iter(answer["content"].values()))["schema"]
    envelope = values(document, schema, 0)
    count = max((len(several) for several in case.parents.values()), default=1)
    found = {}
    for parent in range(count):
        path = case.below + case.path
        for name, several in case.parents.items():
            path = path.replace(f"{{{name}}}", several[parent])
        found[path] = []
        for n in range(23 - 6 * parent):
            row = _item(envelope if case.items else {"": envelope}, case.items, document, schema, n)
            put(
                row,
                case.key,
                f"k{parent}-{n}" if isinstance(_at(row, case.key), str) else 1000 * parent + n + 1,
            )
            found[path].append(row)
    return found, envelope if isinstance(envelope, dict) else {}


def _item(envelope: Any, items: str, document: Any, schema: Any, n: int) -> dict[str, Any]:
    whole = values(document, schema, n)
    listed = _at(whole, items) if items else whole
    return json.loads(json.dumps(listed[0]))


def _at(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body[part]
    return body


def parents_file(case: Case, folder: Path, columns: list[str]) -> str | None:
    if not case.parents:
        return None
    target = folder / "parents.parquet"
    pq.write_table(pa.table(dict(zip(columns, map(list, case.parents.values()), strict=True))), target)
    return str(target)


@pytest.mark.parametrize("name", CASES)
def test_a_source_written_from_a_public_description_reads_each_row(lake, tmp_path, monkeypatch, name):
    case, file = CASES[name], DOCUMENTS / name
    document = Document.read(file).body
    lists, envelope = lists_of(case, document)
    api = Api(lists, case.paging, case.items, envelope, case.login, case.cap, case.token_path)
    with served(api) as url:
        proposal = propose(file, case.path, server=url + case.below)
        config = tmp_path / "source.yaml"
        text = proposal.text.replace("username: CHANGE-ME", "username: asgard").replace(
            "client_id: CHANGE-ME", "client_id: asgard"
        )
        config.write_text(text.replace("https://api.sandbox.velopayments.com", url))
        prefix = proposal.name.partition("_")[0].upper()
        for variable in ("TOKEN", "KEY", "PASSWORD", "CLIENT_SECRET"):
            secret = case.login[1] if case.login and variable == "KEY" else SECRET
            monkeypatch.setenv(f"{prefix}_{variable}", secret)
            monkeypatch.setenv(f"{proposal.name.upper()}_{variable}", secret)
        columns = [part[5:-1] for part in re.findall(r"\{row\.\w+\}", text)]
        rows = parents_file(case, tmp_path, columns)

        findings = {one.field: one for one in prove(lake, config, today(), rows)}
        states = {field: one.state for field, one in findings.items()}
        assert states == {
            "auth": "proven", "form.items": "proven", "form.key": "proven", "form.pagination": "proven", **case.found,
        }, findings  # fmt: skip

        correct(config, [*findings.values()])
        summary = run_pipeline(no_spark, config, rows, lake=lake)
    sent = [row for several in lists.values() for row in several]
    assert summary.rows == len(sent), summary
    with lake.connect() as connection:
        read = [
            json.loads(row)
            for (row,) in connection.execute(f"select payload from bronze.{proposal.name}").fetchall()
        ]
    assert sorted(read, key=json.dumps) == sorted(sent, key=json.dumps)
