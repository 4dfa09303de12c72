"""A Kafka broker on this machine: jars of a committed list, one process, ended with the block that started it."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.spark.jars import fetch
from asgard_assets.spark.java import java

LIST = Path(__file__).parent / "kafka_jars"
_MAIN = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=2
message.max.bytes=33554432
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=16777216
"""


@dataclass
class Broker:
    """A broker over `folder`. Started again, it has what it had."""

    folder: Path
    port: int
    controller: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, patience_seconds: float = 120) -> None:
        """Start it and wait until it answers. Raises ConfigError, with the end of its log, where it does not."""
        jars = fetch(listed=LIST, name="kafka")
        path = ["-cp", f"{jars}/*"]
        self.folder.mkdir(parents=True, exist_ok=True)
        settings, log = self.folder / "server.properties", self.folder / "server.log"
        if not settings.exists():
            settings.write_text(
                _PROPERTIES.format(port=self.port, controller=self.controller, data=self.folder / "data")
            )
            new = ["format", "-t", uuid.uuid4().hex[:22], "-c", str(settings)]
            made = [java(), *path, "kafka.tools.StorageTool", *new]
            done = subprocess.run(made, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ConfigError(f"Kafka's folder cannot be made: {(done.stdout + done.stderr)[-500:]}")
        with log.open("ab") as out:
            command = [java(), *_MAIN, *path, "kafka.Kafka", str(settings)]
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + patience_seconds
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"Kafka did not start:\n{log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def kafka(folder: Path) -> Iterator[Broker]:
    """A running broker; what it holds is gone with its folder."""
    broker = Broker(folder, _free_port(), _free_port())
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
