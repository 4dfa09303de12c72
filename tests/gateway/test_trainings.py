"""Training scripts over HTTP: who may send them, what is refused, and how their runs stand."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import httpx
import pyarrow as pa
import pytest

from asgard_assets.gateway.platform import Platform
from asgard_assets.ml.managed.trainings import trainings
from asgard_assets.operations.transforms.submissions import Outcome
from asgard_assets.settings import Settings
from tests.gateway.conftest import Keys

ROWS = pa.table({"customer_id": [1, 2], "total_purchases": [3, 4]})


def encoded(script: str) -> str:
    return base64.b64encode(script.encode()).decode()


DOCUMENT = {"script_content": encoded("model = None"), "model_name": "churn_predictor"}


def put(platform: Platform, name: str, rows: pa.Table) -> None:
    staging = platform.lake.stage("gold", name, rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)


@pytest.fixture
def ann(platform: Platform, client: httpx.Client, key: Keys) -> dict[str, str]:
    """A trainer, and features to learn from."""
    trainer, editor = key("trainer"), key("editor")
    put(platform, "metrics", ROWS)
    body = {"name": "worth", "entities": ["customer_id"], "source": {"table_name": "metrics"}}
    assert client.post("/feast/features", json=body, headers=editor).status_code == 201
    return trainer


def send(client: httpx.Client, body: Mapping[str, Any], headers: Mapping[str, str], status: int = 202) -> Any:
    answer = client.post("/mlops/training/upload", json=body, headers=dict(headers))
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_script_is_kept_and_its_run_is_queued(
    platform: Platform, client: httpx.Client, ann: dict[str, str]
):
    made = send(client, DOCUMENT, ann)
    assert (made["status"], made["model_name"], made["revision"]) == ("submitted", "churn_predictor", 1)
    kept = trainings(platform.lake).load("churn_predictor").document
    assert (kept.script, kept.views, kept.promote) == ("model = None", ("worth",), True)
    path = f"/mlops/training/{made['run_id']}"
    assert client.get(f"{path}/status", headers=ann).json()["state"] == "SUBMITTED"
    platform.submissions.log(made["run_id"]).write_text("learned\n")
    platform.submissions.finish(
        made["run_id"], Outcome(False, 9.0, reasons=("model/churn_predictor: no such column: x",))
    )
    status = client.get(f"{path}/status", headers=ann).json()
    assert (status["state"], status["model_version"]) == ("FAILED", None)
    assert "no such column: x" in status["reason"]
    assert client.get(f"{path}/logs", headers=ann).json()["printed"] == "learned"


@pytest.mark.parametrize("role", ["viewer", "operator", "editor"])
def test_only_trainers_send_scripts(
    platform: Platform, client: httpx.Client, ann: dict[str, str], key: Keys, role: str
):
    send(client, DOCUMENT, key(role), 403)
    assert not trainings(platform.lake).newest()


def test_scripts_are_off_by_default(platform: Platform, client: httpx.Client, ann: dict[str, str]):
    assert Settings().gateway_training is False
    platform.trainings.settings = Settings(home=platform.settings.home)
    assert "ASGARD_GATEWAY_TRAINING=true" in send(client, DOCUMENT, ann, 422)["detail"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"script_content": "§"}, "no text in base64"),
        ({"script_content": base64.b64encode(b"\xff\xfe").decode()}, "no text in base64"),
        ({"script_content": encoded("model = (")}, "script_content: line 1"),
        ({"script_content": encoded("x\0y")}, "script_content"),
        ({"script_content": encoded(" ")}, "script_content"),
        ({"script_content": encoded("(" * 5000)}, "script_content"),
        ({"model_name": "../churn"}, "model_name"),
        ({"features": ["nobody"]}, "there is no feature view nobody; there are worth"),
        ({"labels": "gold.nowhere"}, "labels: 'gold.nowhere' is no table"),
        ({"labels": "gold.metrics"}, "needs the column event_timestamp"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_what_cannot_train_is_refused_and_leaves_nothing(
    platform: Platform, client: httpx.Client, ann: dict[str, str], change: dict[str, Any], why: str
):
    assert why in send(client, {**DOCUMENT, **change}, ann, 422)["detail"]
    assert not trainings(platform.lake).newest() and len(platform.submissions.all()) == 1


def test_features_of_two_keys_are_not_mixed_unasked(
    platform: Platform, client: httpx.Client, ann: dict[str, str], key: Keys
):
    put(platform, "shops", pa.table({"shop": ["a"], "size": [1]}))
    body = {"name": "shops", "entities": ["shop"], "source": {"table_name": "shops"}}
    assert client.post("/feast/features", json=body, headers=key("editor")).status_code == 201
    assert "with one key" in send(client, DOCUMENT, ann, 422)["detail"]
    assert send(client, {**DOCUMENT, "features": ["shops"]}, ann)["revision"] == 1


def test_a_model_of_another_workspace_is_neither_changed_nor_seen(
    platform: Platform, client: httpx.Client, ann: dict[str, str], key: Keys
):
    run = send(client, DOCUMENT, ann)["run_id"]
    bob = key("trainer", "sales")
    assert client.get(f"/mlops/training/{run}/status", headers=bob).status_code == 404
    infer = {"model_name": "churn_predictor", "inputs": {"total_purchases": [1]}}
    assert client.post("/mlops/inference", json=infer, headers=bob).status_code == 404
    send(client, {**DOCUMENT, "workspace_name": "sales"}, bob, 422)  # no features of its own


def test_a_key_that_is_sent_again_trains_once(platform: Platform, client: httpx.Client, ann: dict[str, str]):
    once = {**ann, "Idempotency-Key": "one"}
    first = send(client, DOCUMENT, once)
    assert send(client, DOCUMENT, once) == first
    send(client, {**DOCUMENT, "promote": False}, once, 409)
    assert trainings(platform.lake).load("churn_predictor").number == 1


def test_a_run_that_trains_nothing_is_no_training(
    client: httpx.Client, ann: dict[str, str], platform: Platform
):
    [features] = platform.submissions.all()
    assert client.get(f"/mlops/training/{features.run_id}/status", headers=ann).status_code == 404
