"""A Postgres on this machine, Debian's, in a folder of its own; ended with the block that started it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asgard_assets.errors import ConfigError


@dataclass(frozen=True)
class Postgres:
    """A server that trusts every local user. `control` is how to start and stop it."""

    port: int
    control: tuple[str, ...]
    options: str
    log: Path
    user: str = "asgard"
    database: str = "src"

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [*self.control, "-o", self.options, "start"]
            if subprocess.run(command, stdout=log, stderr=log, cwd="/", check=False).returncode:
                raise ConfigError(f"Postgres did not start:\n{self.log.read_text(errors='replace')[-1500:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        subprocess.run([*self.control, "-m", "immediate", "stop"], capture_output=True, cwd="/", check=False)


@contextmanager
def postgres(folder: Path, more: str = "") -> Iterator[Postgres]:
    """A running server with an empty database; `more` are options of the server. Raises ConfigError where Postgres is not installed."""
    bin_folder = _programs()
    # It refuses to run as root, and many folders are closed to other users.
    user = ["setpriv", "--reuid", "nobody", "--clear-groups"] if os.getuid() == 0 else []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="asgard-postgres-") as open_folder:
        data = Path(open_folder) / "data"
        if user:
            shutil.chown(open_folder, "nobody")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        control = (*user, str(bin_folder / "pg_ctl"), "-D", str(data), "-w")
        options = f"-p {port} -k {open_folder} -c listen_addresses=127.0.0.1 {more}"
        server = Postgres(port, control, options, folder / "postgres.log")
        _run(
            *user, str(bin_folder / "initdb"), "-A", "trust", "-U", server.user, "-E", "UTF8", "-D", str(data)
        )
        server.start()
        try:
            at = ["-h", "127.0.0.1", "-p", str(port), "-U", server.user]
            _run(*user, str(bin_folder / "createdb"), *at, server.database)
            yield server
        finally:
            server.kill()


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("pg_ctl")
    if not found and not on_path:
        raise ConfigError(
            "Postgres is not installed (Debian: apt-get install postgresql; macOS: brew install postgresql)"
        )
    return found[-1].parent if found else Path(on_path or "").parent


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise ConfigError(f"{' '.join(command[-6:])} failed: {(done.stdout + done.stderr).strip()[-500:]}")
