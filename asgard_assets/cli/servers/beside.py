"""What `asgard dev` starts beside Dagster: the REST API, and the pages of MLflow and Feast behind it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from asgard_assets.cli.terminal import console
from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_RUN = "from asgard_assets.cli.main import main; main()"


class Page(StrEnum):
    mlflow = "mlflow"
    feast = "feast"


def needs_login() -> bool:
    """Whether there are accounts: then Dagster's UI is shown behind the login of the REST API."""
    from asgard_assets.gateway.accounts.store import Accounts

    settings = Settings()
    if not settings.gateway_port:
        return False
    accounts = Accounts.from_settings(settings)
    try:
        return bool(accounts.list())
    finally:
        accounts.close()


def dagster_variables(login: bool, host: str, port: int) -> dict[str, str]:
    """Variables of `asgard dev`: where Dagster is, and below which path the REST API shows it."""
    address = f"http://{host if host in LOOPBACK and ':' not in host else '127.0.0.1'}:{port}"
    found = {"ASGARD_DAGSTER_URL": os.environ.get("ASGARD_DAGSTER_URL", address)}
    if not login:
        return found
    return {"ASGARD_DAGSTER_URL": f"{address}/dagster", "DAGSTER_WEBSERVER_PATH_PREFIX": "/dagster"}


def start_beside(folder: Path, env: Mapping[str, str], login: bool) -> list[subprocess.Popen[bytes]]:
    """Serve the REST API on this machine, where its port is free and wanted, and the pages of MLflow and Feast behind it."""
    port = Settings().gateway_port
    if not port:
        return []
    try:
        refuse_taken("127.0.0.1", port)
    except ConfigError:
        console.print(
            f"Port {port} is taken: the REST API is not started (ASGARD_GATEWAY_PORT).", highlight=False
        )
        return []
    own, uis = list[subprocess.Popen[bytes]](), dict[str, str]()
    if "ASGARD_UIS" not in os.environ:
        for one in Page:
            place = _free_port()
            own.append(_started(folder, env, "ui", one.value, "--port", str(place)))
            uis[one.value] = f"http://127.0.0.1:{place}"
        uis |= {"dagster": env["ASGARD_DAGSTER_URL"]} if login else {}
        env = {**env, "ASGARD_UIS": json.dumps(uis)}
    console.print(
        f"The REST API: http://127.0.0.1:{port}/docs, its pages: http://127.0.0.1:{port}/ui", highlight=False
    )
    return [*own, _started(folder, env, "serve", "--port", str(port))]


def start_spark(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Keep a Spark Connect server on this machine, where steps are to run on one and the settings name no other."""
    settings = Settings()
    wanted = settings.launcher == "connect" and not settings.spark_connect
    return [_started(folder, {}, "spark-server")] if wanted else []


def _started(folder: Path, env: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    from asgard_assets.cli import children

    return children.start([sys.executable, "-c", _RUN, *arguments], folder, {**os.environ, **env})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on ({error.strerror}): stop what is there, or take another "
                f"port: .venv/bin/asgard dev --port {port + 1}"
            ) from error
