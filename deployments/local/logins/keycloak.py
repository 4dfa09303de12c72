"""A real Keycloak: fetched from Maven and built once into the cache, started with a realm of the test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asgard_assets.errors import ConfigError

VERSION = "26.7.3"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
HOME = Path.home() / ".cache" / "asgard" / f"keycloak-{VERSION}"
OPTIONS = ["--db=dev-mem", "--cache=local"]


def java_home(least: int = 21) -> Path | None:
    """A JDK of at least that version: JAVA_HOME's or one of those that are installed."""
    named = os.environ.get("JAVA_HOME")
    for home in [*([Path(named)] if named else []), *sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)]:
        release = home / "release"
        if release.is_file():
            found = re.search(r'JAVA_VERSION="(\d+)', release.read_text())
            if found and int(found.group(1)) >= least:
                return home
    return None


def installed() -> tuple[Path, dict[str, str]]:
    """Keycloak's folder and the environment to run it in. Raises ConfigError where something is missing."""
    java = java_home()
    if java is None:
        raise ConfigError(
            "Keycloak needs a JDK 21 or newer (Debian: apt-get install openjdk-21-jre-headless)"
        )
    environment = os.environ | {
        "JAVA_HOME": str(java),
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx448m",
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }
    if not (HOME / "ready").is_file():
        if shutil.which("mvn") is None:
            raise ConfigError(
                "Keycloak is fetched with Maven, which is not installed (Debian: apt-get install maven)"
            )
        HOME.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "-q", "-B", "-ntp", "dependency:copy", f"-Dartifact={ARTIFACT}"]
        subprocess.run([*command, f"-DoutputDirectory={HOME}"], check=True, cwd=HOME)
        archive = HOME / f"keycloak-quarkus-dist-{VERSION}.zip"
        with zipfile.ZipFile(archive) as files:
            files.extractall(HOME)
        archive.unlink()
        script = HOME / f"keycloak-{VERSION}" / "bin" / "kc.sh"
        script.chmod(0o755)
        subprocess.run([str(script), "build", *OPTIONS], check=True, env=environment)
        (HOME / "ready").touch()
    return HOME / f"keycloak-{VERSION}", environment


class Keycloak:
    """A running server and its one realm."""

    def __init__(self, url: str, realm: str):
        self.url, self.realm = url, realm
        self.token_url = f"{url}/realms/{realm}/protocol/openid-connect/token"

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": "admin"}
        token = _ask(
            "POST",
            f"{self.url}/realms/master/protocol/openid-connect/token",
            urllib.parse.urlencode(form).encode(),
        )
        headers = {"Authorization": f"Bearer {token['access_token']}", "Content-Type": "application/json"}
        return _ask(method, f"{self.url}/admin{path}", json.dumps(body).encode(), headers)

    def create(self, representation: dict[str, Any]) -> None:
        self._admin("POST", "/realms", {"realm": self.realm, "enabled": True} | representation)

    def change(self, **fields: Any) -> None:
        """Change the realm, such as `accessTokenLifespan=5`."""
        self._admin("PUT", f"/realms/{self.realm}", fields)

    def public_key(self) -> str:
        """What the realm signs its tokens with, as PEM."""
        key = _ask("GET", f"{self.url}/realms/{self.realm}", None)["public_key"]
        return f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"


def _ask(method: str, url: str, body: bytes | None, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(url, body, headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"null")


@contextmanager
def keycloak(realm: str, representation: dict[str, Any], port: int = 0) -> Iterator[Keycloak]:
    """A server with a realm, as Keycloak's realm representation says; nothing is kept. Raises ConfigError."""
    home, environment = installed()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"Keycloak cannot listen on port {port}: {error.strerror}") from error
        port = free.getsockname()[1]
    environment |= {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": "admin"}
    command = [
        str(home / "bin" / "kc.sh"),
        "start",
        "--optimized",
        "--http-enabled=true",
        "--hostname-strict=false",
    ]
    command += ["--http-host=127.0.0.1", f"--http-port={port}"]
    log = HOME / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            server = Keycloak(f"http://127.0.0.1:{port}", realm)
            _wait(server, process, log)
            server.create(representation)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.unlink()


def _wait(server: Keycloak, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            _ask("GET", f"{server.url}/realms/master", None)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ConfigError(f"Keycloak did not start:\n{log.read_text()[-3000:]}")
