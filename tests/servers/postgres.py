"""A real Postgres, Debian's, with a database of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.required import missing
from tests.servers.builds import free_port, run


@dataclass(frozen=True)
class Postgres:
    port: int
    user: str = "dagster"
    database: str = "dagster"
    password: str = "not-asked-for"
    control: tuple[str, ...] = ()
    options: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What Dagster's production instance is told."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_USERNAME": self.user,
            "DAGSTER_PG_PASSWORD": self.password,
            "DAGSTER_PG_DB": self.database,
        }

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """It has crashed, and starts again at the end."""
        run(*self.control, "-m", "immediate", "stop", cwd=Path("/"))
        try:
            yield
        finally:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run([*self.control, "-o", self.options, "start"], cwd="/", check=True, **quiet)

    @property
    def storage(self) -> dict[str, Any]:
        """The storage of a `dagster.yaml` on this machine."""
        return {
            "postgres": {
                "postgres_db": {
                    "hostname": "127.0.0.1",
                    "port": self.port,
                    "username": self.user,
                    "password": self.password,
                    "db_name": self.database,
                }
            }
        }


@contextmanager
def postgres(folder: Path, address: str = "", password: str = "not-asked-for") -> Iterator[Postgres]:
    """A server over `folder`; it trusts every local user.

    With an `address` it can be reached there too, and asks who comes from elsewhere for the `password`.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        missing("no Postgres (Debian: apt-get install postgresql)")
    bin_folder, server = found[-1].parent, Postgres(free_port(), password=password)
    # It refuses to run as root, and pytest's folders are closed to other users.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="postgres-") as open_folder:
        data = Path(open_folder) / "data"
        if user:
            run("chown", "postgres", open_folder)
        run(
            *user,
            str(bin_folder / "initdb"),
            "-A",
            "trust",
            "-U",
            server.user,
            "-D",
            str(data),
            cwd=Path("/"),
        )
        listen = ",".join(filter(None, ["127.0.0.1", address]))
        options = f"-p {server.port} -k {open_folder} -c listen_addresses={listen} -c fsync=off -c max_connections=500"
        if address:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
        control = [*user, str(bin_folder / "pg_ctl"), "-D", str(data), "-w"]
        with (folder / "log").open("wb") as log:
            subprocess.run([*control, "-o", options, "start"], stdout=log, stderr=log, cwd="/", check=True)
        try:
            connect = ["-h", "127.0.0.1", "-p", str(server.port), "-U", server.user]
            run(*user, str(bin_folder / "createdb"), *connect, server.database, cwd=Path("/"))
            said = f"ALTER USER {server.user} PASSWORD '{password}'"
            run(*user, str(bin_folder / "psql"), *connect, "-c", said, server.database, cwd=Path("/"))
            yield replace(server, control=tuple(control), options=options)
        finally:
            run(*control, "-m", "immediate", "stop", cwd=Path("/"))
