"""A real Spark Connect server with Delta, started as `asgard spark-server` starts it, and reached by its address."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asgard_assets.settings import Settings
from asgard_assets.spark.connect import Address, LocalServer
from asgard_assets.spark.session import session_conf
from tests.fakes.authority import Authority
from tests.patience import ended, wait_until
from tests.servers.builds import free_port

TOKEN = "TEST_SPARK_TOKEN"
"""Variable that holds the server's token."""


@dataclass
class ConnectServer:
    """The server: start it, kill it, start it again at the same port."""

    local: LocalServer
    conf: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Address:
        return self.local.address

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a process that runs its steps there."""
        return {
            "ASGARD_LAUNCHER": "connect",
            "ASGARD_SPARK_CONNECT": str(self.address),
            "ASGARD_SPARK_CONNECT_TOKEN": f"env:{TOKEN}",
            TOKEN: self.local.token,
        }

    def start(self) -> None:
        with self.local.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.local.command(self.conf),
                env=self.local.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(
            lambda: self.process is None or self.process.poll() is not None or self._listens(),
            60,
            "Spark listens",
            pause=0.5,
        )
        assert self.process.poll() is None, self.local.log.read_text()[-3000:]

    def kill(self) -> None:
        """As a machine that is short of memory does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        import socket

        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.local.port)) == 0


@contextmanager
def connect_server(home: Path, **conf: str) -> Iterator[ConnectServer]:
    """A server that keeps its log below `home`; more options of Spark in `conf`."""
    settings = Settings(home=home, spark_connect_port=free_port())
    server = ConnectServer(LocalServer.new(settings), session_conf(settings) | conf)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            ended(server.process, group=True)


@contextmanager
def tls_in_front(port: int, authority: Authority) -> Iterator[int]:
    """A proxy on 127.0.0.1 that ends TLS before the server at `port`; yields its own port."""
    context = authority.server_context()
    context.set_alpn_protocols(["h2"])
    loop, listening, found = asyncio.new_event_loop(), threading.Event(), list[int]()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        found.append(server.sockets[0].getsockname()[1])
        listening.set()

    loop.create_task(run())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
