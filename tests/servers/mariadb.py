"""A real MariaDB, Debian's, out of its packages: nothing is installed, and no root is needed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import ended, wait_until
from tests.required import missing
from tests.servers.builds import free_port
from tests.servers.debian import unpacked

PACKAGES = ("mariadb-server-core", "mariadb-common", "liburing2", "libaio1")
_SYSTEM = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")


@dataclass(frozen=True)
class MariaDb:
    port: int
    user: str = "reader"
    password: str = "not-asked-for"
    database: str = "shop"

    def connect(self, **options: Any) -> Any:
        import pymysql

        told = {
            "user": "root",
            "password": "",
            "database": self.database,
            "charset": "utf8mb4",
            "autocommit": True,
        }
        return pymysql.connect(host="127.0.0.1", port=self.port, **(told | options))

    def run(self, *statements: str) -> None:
        """Run statements as root."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def mariadb(*options: str) -> Iterator[MariaDb]:
    """A server with the database `shop`, and the user `reader`, who may read it and lock its tables."""
    root = unpacked("mariadb", *PACKAGES)
    program, share = root / "usr/sbin/mariadbd", root / "usr/share/mysql"
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{root}/usr/lib/{os.uname().machine}-linux-gnu"}
    with tempfile.TemporaryDirectory(prefix="mariadb-") as folder:
        server = MariaDb(free_port())
        command = [str(program), "--no-defaults", f"--datadir={folder}/data", f"--lc-messages-dir={share}"]
        command += [f"--character-sets-dir={share}/charsets", "--innodb-buffer-pool-size=64M", *_user()]
        (Path(folder) / "data").mkdir()
        made = "create database mysql;\nuse mysql;\n" + "\n".join(
            re.sub(r"^-- .*$", "", (share / name).read_text(), flags=re.M)
            for name in _SYSTEM
            if (share / name).exists()
        )
        users = f"""
            flush privileges;
            create or replace user root@'127.0.0.1' identified by '';
            grant all on *.* to root@'127.0.0.1' with grant option;
            create user {server.user}@'127.0.0.1' identified by '{server.password}';
            create database {server.database};
            grant select, lock tables on {server.database}.* to {server.user}@'127.0.0.1';
        """
        told = made + re.sub(r"\s*\n\s*", "\n", users)
        done = subprocess.run(
            [*command, "--bootstrap", "--skip-log-bin"],
            input=told,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            missing(f"MariaDB cannot be set up: {done.stderr[-800:]}")
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--port={server.port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket",
                 "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", *options],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or _answers(server), 30, "MariaDB answers")
            if process.poll() is not None:
                missing(f"MariaDB ended: {(Path(folder) / 'log').read_text()[-800:]}")
            yield server
        finally:
            ended(process)


def _answers(server: MariaDb) -> bool:
    import pymysql

    try:
        server.connect().close()
    except pymysql.err.MySQLError:
        return False
    return True


def _user() -> list[str]:
    return ["--user=root"] if os.getuid() == 0 else []  # it asks to be told
