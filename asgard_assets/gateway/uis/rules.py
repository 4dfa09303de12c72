"""What a caller must be allowed to do for a request to another page. What is not known here is for those who may do more."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode, GraphQLError, OperationDefinitionNode, OperationType, parse

from asgard_assets.gateway.accounts.roles import May
from asgard_assets.gateway.problems import RefusedError
from asgard_assets.settings import UiName

# Mutations of Dagster that start and stop: what `asgard run`, `pause` and `resume` do too.
_STARTS_AND_STOPS = frozenset({
    "launchPipelineExecution", "launchRun", "launchMultipleRuns", "launchPipelineReexecution", "launchRunReexecution",
    "launchPartitionBackfill", "resumePartitionBackfill", "reexecutePartitionBackfill", "cancelPartitionBackfill",
    "terminatePipelineExecution", "terminateRun", "terminateRuns", "startSchedule", "stopRunningSchedule", "resetSchedule",
    "startSensor", "stopSensor", "resetSensor", "scheduleDryRun", "sensorDryRun", "reloadRepositoryLocation", "reloadWorkspace",
    "setAutoMaterializePaused",
})  # fmt: skip
# The page sends them by itself, for readers too. They change no data.
_OF_THE_PAGE = frozenset({"logTelemetry", "setNuxSeen"})
_MLFLOW_READS = re.compile(r"/(search|search-datasets|batch-get|batchGet|get-history-bulk-interval)$")
# Parts of MLflow that keep keys or run programs.
_MLFLOW_CLOSED = frozenset({"assistant", "gateway", "jobs", "webhooks", "scorers", "secrets"})
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Needed:
    """`body` is what is sent on: read here and written anew, so that both sides read the same. `told`: for the audit log."""

    action: May
    body: bytes
    told: str = ""


def needed(ui: UiName, method: str, path: str, query: str, content_type: str, body: bytes) -> Needed:
    """Raises RefusedError where a request cannot be judged."""
    if path.rstrip("/").endswith("/graphql"):
        return _graphql(ui, method, query, content_type, body)
    if ui == "mlflow":
        return Needed(_of_mlflow(method, path), body)
    if method in _READS:
        return Needed(May.read, body)
    return Needed(May.edit if ui == "dagster" else May.admin, body)


def of_message(text: str) -> May:
    """What a message of a GraphQL socket needs. Raises RefusedError where it is none."""
    try:
        told = json.loads(text)
        payload = told.get("payload") if isinstance(told, dict) else None
        asked = payload.get("query") if isinstance(payload, dict) else None
    except ValueError as error:
        raise RefusedError(400, "a message of GraphQL is JSON") from error
    names = mutations(asked) if asked is not None else []
    return max((_of_mutation("dagster", name) for name in names), key=_weight, default=May.read)


def mutations(query: Any) -> list[str]:
    """The mutations that a GraphQL document asks for; `*` where a fragment hides them. Raises RefusedError."""
    if not isinstance(query, str):
        raise RefusedError(400, "GraphQL: `query` is a text")
    try:
        found = parse(query, no_location=True).definitions
    except (GraphQLError, RecursionError) as error:
        raise RefusedError(400, f"GraphQL: {str(error)[:200]}") from error
    return [
        one.name.value if isinstance(one, FieldNode) else "*"
        for operation in found
        if isinstance(operation, OperationDefinitionNode) and operation.operation is OperationType.MUTATION
        for one in operation.selection_set.selections
    ]


def _graphql(ui: UiName, method: str, query: str, content_type: str, body: bytes) -> Needed:
    if method in _READS and not query:  # a name in the address may be written in many ways, such as %71uery
        return Needed(May.read, body)  # the page to try queries
    if method != "POST" or "application/json" not in content_type or query:
        raise RefusedError(415, "GraphQL: send POST with application/json, and nothing in the address")
    try:
        told = json.loads(body)
    except ValueError as error:
        raise RefusedError(400, "GraphQL: the body is no JSON") from error
    if not isinstance(told, dict):
        raise RefusedError(400, "GraphQL: send one query at a time")
    names, sent = mutations(told.get("query")), json.dumps(told).encode()
    actions = [_of_mutation(ui, name) for name in names]
    return Needed(max(actions, key=_weight, default=May.read), sent, " ".join(names))


def _of_mutation(ui: UiName, name: str) -> May:
    if ui == "mlflow":
        return May.train
    if name in _OF_THE_PAGE:
        return May.read
    return May.run if name in _STARTS_AND_STOPS else May.admin


def _of_mlflow(method: str, path: str) -> May:
    if _MLFLOW_CLOSED & set(path.lower().split("/")):
        return May.admin
    if method in _READS or (method == "POST" and _MLFLOW_READS.search(path)):
        return May.read
    return May.admin if method == "DELETE" or path.rstrip("/").endswith("/delete") else May.train


def _weight(action: May) -> int:
    return list(May).index(action)
