"""CPU of the gateway against bare routes and Feast: `python -m tests.benchmarks.gateway`.

Status and inference are compared with a bare FastAPI route that answers the same bytes, online features with the read of
Feast's own store. Both sides are called in this process without a socket, in turns. What is printed: CPU milliseconds a request, and their ratio.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from pydantic import BaseModel

ROUNDS, REQUESTS = 7, 150
COLUMNS = ("total_purchases", "lifetime_value")
INPUTS = {"total_purchases": [5, 25], "lifetime_value": [250, 2500]}


class Asked(BaseModel):
    inputs: dict[str, list[float]]


async def call(app: Any, method: str, path: str, body: bytes, key: str) -> bytes:
    """One request, by the app's own interface."""
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {key}".encode()),
    ]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "scheme": "http", "root_path": "",
    }  # fmt: skip
    told, parts = [{"type": "http.request", "body": body, "more_body": False}], list[bytes]()

    async def receive() -> dict[str, Any]:
        return told.pop() if told else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(parts)


def cpu(app: Any, *request: Any) -> float:
    """CPU milliseconds a request."""

    async def many() -> None:
        for _ in range(REQUESTS):
            await call(app, *request)

    began = time.process_time()
    asyncio.run(many())
    return (time.process_time() - began) / REQUESTS * 1000


def compare(name: str, ours: Callable[[], float], bare: Callable[[], float]) -> None:
    ours(), bare()
    pairs = [(ours(), bare()) for _ in range(ROUNDS)]
    left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{name}: {left:.2f} ms of CPU, bare {right:.2f} ms, ratio {left / right:.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"ASGARD_HOME": folder, "ASGARD_GATEWAY_REQUESTS_PER_SECOND": "1000000"}
        _measure(Path(folder))


def _measure(folder: Path) -> None:
    import dagster as dg
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    from asgard_assets.gateway.accounts.gate import Gate
    from asgard_assets.gateway.accounts.store import Accounts
    from asgard_assets.gateway.app import create_app
    from asgard_assets.gateway.platform import Platform
    from asgard_assets.ml.registry import Provenance, Registry
    from asgard_assets.operations.transforms.submissions import Outcome, Submission
    from asgard_assets.settings import Settings

    settings = Settings()
    accounts = Accounts.from_settings(settings)
    accounts.add("ann", "viewer")
    key = accounts.new_key("ann")
    frame = pd.DataFrame({"total_purchases": [1.0, 2, 30, 40], "lifetime_value": [5.0, 9, 800, 900]})
    model = LogisticRegression().fit(frame, [1, 1, 0, 0])
    registry = Registry.from_settings("churn", settings)
    made = Provenance("2026-10-05", "2026-10-05", "0" * 64, "t", "/t", 0, "f", "c")
    registry.promote(registry.register(model, made, (frame, model.predict(frame)), {}, {}, {}))
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform.from_settings(settings, instance)
        platform.submissions.add(Submission("aaaaaaaa", "silver/x", 1, time.time()))
        platform.submissions.finish("aaaaaaaa", Outcome(True, time.time()))
        app = create_app(platform, Gate(accounts, settings.gateway_requests_per_second))
        path = "/transform/aaaaaaaa/status"
        status = asyncio.run(call(app, "GET", path, b"", key))
        bare = FastAPI()

        @bare.get("/status")
        def read() -> Response:
            return Response(status, media_type="application/json")

        @bare.post("/infer")
        def infer(body: Asked) -> dict[str, Any]:
            rows = pd.DataFrame(body.inputs)[list(COLUMNS)]
            found = model.predict_proba(rows)[:, 1].tolist()
            return {"model_name": "churn", "model_version": 1, "predictions": found}

        compare(
            "status",
            lambda: cpu(app, "GET", "/transform/aaaaaaaa/status", b"", key),
            lambda: cpu(bare, "GET", "/status", b"", key),
        )
        platform.submissions.add(Submission("bbbbbbbb", "silver/y", 1, time.time()))
        path = "/transform/bbbbbbbb/status"
        compare(
            "status of a run that goes on",
            lambda: cpu(app, "GET", path, b"", key),
            lambda: cpu(bare, "GET", "/status", b"", key),
        )
        body = json.dumps({"model_name": "churn", "inputs": INPUTS}).encode()
        compare(
            "inference",
            lambda: cpu(app, "POST", "/mlops/inference", body, key),
            lambda: cpu(bare, "POST", "/infer", json.dumps({"inputs": INPUTS}).encode(), key),
        )
        _online(platform, app, key)


def _online(platform: Any, app: Any, key: str) -> None:
    """Online features against the read of Feast's own store."""
    import pyarrow as pa
    from feast import FeatureStore

    from asgard_assets.ml.managed.features import serve
    from asgard_assets.ml.managed.repository import ManagedRepository
    from asgard_assets.ml.managed.views import ManagedView, views
    from asgard_assets.ml.store import configured, open_store

    rows = pa.table({"customer_id": list(range(100)), "orders": list(range(100)), "spent": [1.5] * 100})
    staging = platform.lake.stage("gold", "worth", rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)
    made = ManagedView(
        name="worth",
        table="gold/worth",
        keys={"customer_id": "bigint"},
        features={"orders": "bigint", "spent": "double"},
    )
    view = views(platform.lake).save(made).document
    repository = ManagedRepository([view])
    with open_store(platform.settings, repository) as store:
        serve(store, view)
    own = FeatureStore(config=configured(platform.settings, repository))
    names, asked = (
        [f"worth:{each}" for each in view.features],
        [{"customer_id": number} for number in range(10)],
    )

    def feast() -> float:
        began = time.process_time()
        for _ in range(REQUESTS):
            own.get_online_features(names, asked).to_dict()
        return (time.process_time() - began) / REQUESTS * 1000

    body = json.dumps({"entities": {"customer_id": list(range(10))}}).encode()
    compare("online features", lambda: cpu(app, "POST", "/feast/features/worth/online", body, key), feast)


if __name__ == "__main__":
    main()
