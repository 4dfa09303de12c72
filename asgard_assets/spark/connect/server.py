"""A Spark Connect server on this machine: how it is started, and how runs of the same home find it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.spark.connect.address import LOCAL, VARIABLE, Address
from asgard_assets.spark.submit import spark_home

log = logging.getLogger(__name__)

SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
_VARIABLE = "SPARK_CONNECT_AUTHENTICATE_TOKEN"  # Spark reads it there; an option would be seen in the list of processes
_STARTING_SECONDS = 90.0
_OWN = {
    "spark.connect.grpc.binding.address": "127.0.0.1",
    # Steps side by side share the cores, instead of the second waiting for the first.
    "spark.scheduler.mode": "FAIR",
    # A run that was killed asks for nothing more: its job ends, and its session goes.
    "spark.connect.execute.manager.detachedTimeout": "60s",
    "spark.connect.session.manager.defaultSessionTimeout": "30m",
}


@dataclass(frozen=True)
class LocalServer:
    """The server of one home. Its note in `folder` says at which port it listens, with which token, and who keeps it."""

    folder: Path
    port: int
    token: str = field(repr=False)
    keeper: int

    @classmethod
    def new(cls, settings: Settings) -> LocalServer:
        """A server to be started by this process: at the port of the settings, or another where that is taken."""
        folder = _folder(settings)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, _free(settings.spark_connect_port), secrets.token_urlsafe(24), os.getpid())

    @classmethod
    def found(cls, settings: Settings) -> LocalServer:
        """The server that runs for this home. Raises ConfigError where none does."""
        folder = _folder(settings)
        try:
            told = json.loads((folder / "server.json").read_text())
            server = cls(folder, told["port"], told["token"], told["keeper"])
        except (OSError, ValueError, KeyError):
            server = None
        if server is None or not psutil.pid_exists(server.keeper):
            raise ConfigError(
                f"no Spark Connect server runs for {settings.home}: start one with `asgard dev` or `asgard spark-server`, or "
                f"set {VARIABLE} to the address of another one"
            )
        return server

    @property
    def address(self) -> Address:
        return Address(LOCAL, self.port, token=self.token, starting_seconds=_STARTING_SECONDS)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def command(self, conf: Mapping[str, str]) -> list[str]:
        """What starts it, with `conf` of `session_conf`."""
        conf = {**conf, **_OWN, "spark.connect.grpc.binding.port": str(self.port), "spark.app.name": "asgard"}
        options = [part for key in sorted(conf) for part in ("--conf", f"{key}={conf[key]}")]
        return [str(spark_home() / "bin" / "spark-submit"), "--class", SERVER, *options, "spark-internal"]

    def environment(self) -> dict[str, str]:
        """Its environment: this process's, and what its Python workers need to run the project's functions."""
        path = [*project.import_path(), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "SPARK_HOME": str(spark_home()),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(path),
            _VARIABLE: self.token,
        }

    @contextlib.contextmanager
    def announced(self) -> Iterator[None]:
        """Inside, runs of this home find it."""
        note = self.folder / "server.json"
        draft = note.with_suffix(f".{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"port": self.port, "token": self.token, "keeper": self.keeper}, file)
        draft.replace(note)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def warm_up(self, session: Any) -> float:
        """Write and read a small Delta table, so that the first step finds the server's code loaded. Returns the seconds."""
        began, place = time.monotonic(), self.folder / "warm-up"
        frame = session.range(100).selectExpr("id", "cast(id as string) as text", "id % 3 as ds")
        for kind in ("delta", "parquet"):
            frame.write.format(kind).mode("overwrite").partitionBy("ds").save(str(place / kind))
        read = session.read.format("delta").option("versionAsOf", 0).load(str(place / "delta"))
        read.where("ds = 1").groupBy("text").count().collect()
        shutil.rmtree(place, ignore_errors=True)
        return time.monotonic() - began


def _folder(settings: Settings) -> Path:
    return settings.home.absolute() / "spark-connect"


def _free(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
    raise ConfigError("no port of 127.0.0.1 is free for a Spark Connect server")
