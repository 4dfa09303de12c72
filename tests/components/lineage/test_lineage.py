"""Lineage of runs: every step tells what it read and made, in events that the published classes take."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.lineage.graph import Graph
from asgard_assets.components.lineage.sensor import lineage_sensor, told
from asgard_assets.lake import Lake
from asgard_assets.operations.lineage.way import way
from tests.servers.openlineage import judged

SCHEMA = dg.TableSchema([dg.TableColumn("id", "bigint", "Who."), dg.TableColumn("total", "double")])
MADE_OF = dg.TableColumnLineage({"total": [dg.TableColumnDep(dg.AssetKey(["silver", "orders"]), "amount")]})
DAYS = dg.StaticPartitionsDefinition(["2026-10-05", "2026-10-06"])
ORDERS = dg.TableSchema([dg.TableColumn("id", "bigint"), dg.TableColumn("amount", "double")])


@dg.asset(
    key=["silver", "orders"],
    partitions_def=DAYS,
    metadata={"dagster/column_schema": ORDERS},
    owners=["team:sales"],
)
def orders() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": 7, "version": 3, "bytes": 512})


@dg.asset(
    key=["gold", "totals"],
    deps=[orders],
    partitions_def=DAYS,
    description="Totals.",
    metadata={"dagster/column_schema": SCHEMA},
    check_specs=[dg.AssetCheckSpec("is_positive", asset=["gold", "totals"])],
)
def totals() -> Iterator[Any]:
    yield dg.MaterializeResult(metadata={"dagster/column_lineage": MADE_OF})
    yield dg.AssetCheckResult(passed=False, check_name="is_positive", severity=dg.AssetCheckSeverity.WARN)


@dg.asset(key=["gold", "broken"], deps=[orders])
def broken() -> None:
    raise ValueError("it fails always")


class Receiver:
    """What a receiver got. `status` is what it answers."""

    def __init__(self) -> None:
        self.status, self.url = 201, ""
        self.events: list[dict[str, Any]] = []


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/v1/lineage" and found.status < 300:
                found.events.append(body)
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    definitions = dg.Definitions([orders, totals, broken])
    return Graph.of(definitions.resolve_all_asset_specs(), Lake(str(tmp_path / "lake")))


def begun() -> str:
    return json.dumps({"since": (datetime.now(UTC) - timedelta(seconds=5)).isoformat(), "sent": {}})


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [orders, totals], partition_key="2026-10-05", instance=instance, raise_on_error=False
    )


@pytest.mark.servers
def test_every_step_of_a_run_is_told_as_the_specification_has_it(instance: dg.DagsterInstance, graph: Graph):
    with receiver() as server:
        run_id = run(instance).run_id
        failed = dg.materialize([broken], instance=instance, raise_on_error=False)
        said, cursor = told(instance, graph, begun(), server.url)
        assert said == "6 events of 2 runs"
        assert told(instance, graph, cursor, server.url)[0] == "no run has changed"
    assert judged(server.events) == [""] * 6
    ends = {event["job"]["name"]: event for event in server.events if event["eventType"] != "START"}
    assert {name: event["eventType"] for name, event in ends.items()} == {
        "silver/orders": "COMPLETE", "gold/totals": "COMPLETE", "gold/broken": "FAIL",
    }  # fmt: skip
    gold = ends["gold/totals"]
    assert gold["run"]["facets"]["parent"]["run"]["runId"] == run_id
    assert [tag["value"] for tag in gold["run"]["facets"]["tags"]["tags"]] == ["2026-10-05"]
    assert [one["name"] for one in gold["inputs"]] == ["silver/orders"]
    facets = gold["outputs"][0]["facets"]
    assert [field["name"] for field in facets["schema"]["fields"]] == ["id", "total"]
    assert facets["columnLineage"]["fields"]["total"]["inputFields"][0]["field"] == "amount"
    assert facets["dataQualityAssertions"]["assertions"] == [
        {"assertion": "is_positive", "success": False, "severity": "warn"}
    ]
    silver = ends["silver/orders"]["outputs"][0]
    assert silver["namespace"] == graph.root and silver["namespace"].startswith("file:///")
    assert silver["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert silver["facets"]["version"]["datasetVersion"] == "3"
    assert ends["silver/orders"]["job"]["facets"]["ownership"]["owners"][0]["name"] == "team:sales"
    assert "it fails always" in ends["gold/broken"]["run"]["facets"]["errorMessage"]["message"]
    assert failed.run_id != run_id


@pytest.mark.servers
def test_the_judge_refuses_what_is_no_event(instance: dg.DagsterInstance, graph: Graph):
    with receiver() as server:
        run(instance)
        told(instance, graph, begun(), server.url)
    wrong = [json.loads(json.dumps(server.events[0])) for _ in range(3)]
    wrong[0]["run"]["runId"] = "17"
    wrong[1]["eventTime"] = "yesterday"
    wrong[2]["run"]["facets"]["parent"].pop("job")
    assert all(judged(wrong))


def test_an_endpoint_that_is_away_costs_a_line_and_nothing_is_lost(
    instance: dg.DagsterInstance, graph: Graph
):
    with receiver() as server:
        server.status = 503
        assert run(instance).success
        said, cursor = told(instance, graph, begun(), server.url)
        assert "answers 503" in said and "The next tick goes on" in said
        assert "nobody answers" in told(instance, graph, cursor, "http://127.0.0.1:1")[0]
        server.status = 201
        assert told(instance, graph, cursor, server.url)[0] == "4 events of 1 runs"


def test_an_event_that_is_refused_as_wrong_holds_up_no_other(
    instance: dg.DagsterInstance, graph: Graph, caplog: pytest.LogCaptureFixture
):
    with receiver() as server:
        server.status = 422
        run(instance)
        said, cursor = told(instance, graph, begun(), server.url)
        assert said == "0 events of 1 runs" and "was refused (422)" in caplog.text
        server.status = 201
        assert told(instance, graph, cursor, server.url)[0] == "no run has changed"


def test_events_go_to_a_file_and_the_same_run_tells_the_same(
    instance: dg.DagsterInstance, graph: Graph, tmp_path: Path
):
    run(instance)
    file = tmp_path / "lineage" / "events.jsonl"
    start = begun()
    for _ in range(2):
        told(instance, graph, start, file.as_uri())
    lines = file.read_text().splitlines()
    assert len(lines) == 8 and lines[:4] == lines[4:]


def test_history_from_before_is_not_sent_and_the_sensor_tells_what_it_did(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(instance)
    file = tmp_path / "events.jsonl"
    monkeypatch.setenv("OPENLINEAGE_URL", str(file))
    definitions = dg.Definitions([orders, totals, broken], sensors=[lineage_sensor()])
    context = dg.build_sensor_context(instance, repository_def=definitions.get_repository_def())
    first = lineage_sensor().evaluate_tick(context)
    assert first.skip_message == "begins with the runs from now on" and not file.exists()


def test_a_column_is_followed_by_what_its_last_run_told(instance: dg.DagsterInstance, tmp_path: Path):
    run(instance)
    definitions = dg.Definitions([orders, totals, broken])
    [found] = way(definitions, instance, Lake(str(tmp_path)), "gold/totals.total")
    assert [(edge.of_table, edge.of_column, edge.how) for edge in found.made_of] == [
        ("silver/orders", "amount", "query")
    ]
    with pytest.raises(Exception, match="has no column sum; it has id, total"):
        way(definitions, instance, Lake(str(tmp_path)), "gold/totals.sum")
    with pytest.raises(Exception, match="did you mean gold/totals"):
        way(definitions, instance, Lake(str(tmp_path)), "gold/total.sum")
