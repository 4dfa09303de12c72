"""The pages of MLflow and Feast, as servers that show this project below a path of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal

from asgard_assets.ml.artifacts import ARTIFACTS
from asgard_assets.settings import Settings

OtherUi = Literal["mlflow", "feast"]
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))


def mlflow_command(settings: Settings, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command of MLflow's server, with its own variables. One process is enough to look at runs."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--static-prefix", "/mlflow", "--no-serve-artifacts", "--default-artifact-root", ARTIFACTS,
    ]  # fmt: skip
    # In a cluster others ask for it by the name of its service. Who may ask is the gateway's, and the network policy's.
    hosts = {} if host in LOOPBACK else {"MLFLOW_SERVER_ALLOWED_HOSTS": "*"}
    own = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for what nobody asks here
        "MLFLOW_BACKEND_STORE_URI": settings.mlflow_tracking_uri,
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
    }
    return command, own | hosts


def serve_ui(ui: OtherUi, settings: Settings, host: str, port: int, env: Mapping[str, str]) -> None:
    """Serve a page until it ends. MLflow's server takes the place of this process, so that signals reach it."""
    if ui == "mlflow":
        command, own = mlflow_command(settings, host, port)
        os.execve(command[0], command, {**env, **own})  # noqa: S606  no shell, and no input of others
    import uvicorn

    from asgard_assets.ml.store import open_store
    from asgard_assets.operations.uis.feast import feast_app

    with open_store(settings) as opened:
        uvicorn.run(feast_app(opened.feast), host=host, port=port, access_log=False, server_header=False)
