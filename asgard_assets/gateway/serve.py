"""`asgard serve`: the API in one process, beside the history that UI and command line share."""

from __future__ import annotations

import json
import logging
import sys
import time

from asgard_assets.errors import ConfigError
from asgard_assets.gateway.door import LOOPBACK
from asgard_assets.settings import Settings


class JsonLines(logging.Formatter):
    """Each record as one line of JSON. What is JSON already is merged into it."""

    def format(self, record: logging.LogRecord) -> str:
        text, told = (
            record.getMessage(),
            {"time": _time(record.created), "level": record.levelname, "logger": record.name},
        )
        try:
            told |= json.loads(text) if record.name == "asgard.access" else {"message": text}
        except ValueError:
            told["message"] = text
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told)


def serve(host: str, port: int) -> None:
    """Serve until a signal comes. Raises ConfigError where that would not be safe."""
    import dagster as dg
    import uvicorn

    from asgard_assets.gateway.accounts.gate import Gate
    from asgard_assets.gateway.accounts.store import Accounts
    from asgard_assets.gateway.app import create_app
    from asgard_assets.gateway.platform import Platform

    settings = Settings()
    if not settings.database_url:
        settings.refuse_home("DATABASE_URL", "accounts, the audit log and runs", "postgresql://…/asgard")
    accounts = Accounts.from_settings(settings)
    refuse_open(settings, host, bool(accounts.list()))
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    with dg.DagsterInstance.get() as instance:
        gate = Gate(accounts, settings.gateway_requests_per_second)
        app = create_app(Platform.from_settings(settings, instance), gate)
        options = {"log_config": None, "access_log": False, "server_header": False}
        uvicorn.run(app, host=host, port=port, timeout_keep_alive=75, timeout_graceful_shutdown=10, **options)


def refuse_open(settings: Settings, host: str, accounts: bool, what: str = "asgard serve") -> None:
    """Without accounts the API is for this machine alone, and never for production. Raises ConfigError."""
    if accounts:
        return
    cure = "make one: asgard account add NAME --role admin"
    if settings.env == "production":
        raise ConfigError(f"{what}: production needs accounts, and there are none; {cure}")
    if host not in LOOPBACK:
        raise ConfigError(f"{what}: without accounts it listens on 127.0.0.1 alone, not on {host}; {cure}")


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
