"""The few calls to Kubernetes that launching Spark takes, as JSON over HTTPS.

The official client imports 700 model modules (70 MB, 2 s) into a host process that should only wait. This one
reads the same kubeconfig, exec plugins included, or the service account of its own pod.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from asgard_assets.errors import ConfigError, SparkJobError, Terminal, Transient

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECONDS = 15


class ApiUnreachable(Transient, SparkJobError):
    """The API server does not answer, or answers that it cannot now."""


class ApiRefused(Terminal, SparkJobError):
    """The API server refuses a call. Carries `status` and `reason` (Forbidden, AlreadyExists …)."""


class Api:
    """One API server, one identity. Counts its `calls`; safe to use from several threads."""

    def __init__(self, server: str, credentials: Credentials, ca: str | bool) -> None:
        self.server, self.calls = server.rstrip("/"), 0
        self._credentials, self._ca, self._local = credentials, ca, threading.local()

    @classmethod
    def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> Api:
        """By the named kubeconfig, else $KUBECONFIG, else this pod's account, else ~/.kube/config.

        Raises ConfigError where none of them is there, or the file names what is not in it.
        """
        path = kubeconfig or os.environ.get("KUBECONFIG")
        if not path and (_POD / "token").is_file():
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
            host = f"[{host}]" if ":" in host else host
            return cls(
                f"https://{host}:{port}",
                Credentials({"tokenFile": str(_POD / "token")}),
                str(_POD / "ca.crt"),
            )
        # As kubectl reads it: several files by colon, what is named first wins.
        paths = [Path(one).expanduser() for one in (path or "~/.kube/config").split(os.pathsep) if one]
        files = [one for one in paths if one.is_file()]
        if not files:
            raise ConfigError(
                f"no kubeconfig at {os.pathsep.join(map(str, paths))} and no service account here: "
                "set KUBECONFIG, or run inside the cluster"
            )
        import yaml

        configs = [(file, yaml.safe_load(file.read_text()) or {}) for file in files]
        current = next(
            (config["current-context"] for _, config in configs if config.get("current-context")), ""
        )
        chosen = _named(configs, "contexts", context or current)[0]["context"]
        cluster, folder = _named(configs, "clusters", chosen["cluster"])
        user, own_folder = _named(configs, "users", chosen["user"])
        ca = _file(cluster["cluster"], "certificate-authority", folder)
        verify: str | bool = ca if ca else not cluster["cluster"].get("insecure-skip-tls-verify", False)
        return cls(cluster["cluster"]["server"], Credentials(user["user"] or {}, own_folder), verify)

    def get(self, path: str, **query: str) -> Any:
        """The object at `path`, None where there is none."""
        return self._call("GET", path, params=query, missing=True)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, body=body)

    def delete(self, path: str) -> None:
        """Delete the object and, before it, what it owns; nothing there is no error."""
        self._call("DELETE", path, body={"propagationPolicy": "Foreground"}, missing=True)

    def text(self, path: str, **query: str) -> str | None:
        """A log, None where there is none (yet)."""
        try:
            return self._call("GET", path, params=query, missing=True, parse=False)
        except ApiRefused as error:
            if error.attributes["status"] == 400:  # the container has not started
                return None
            raise

    def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        missing: bool = False,
        parse: bool = True,
    ) -> Any:
        import requests

        self.calls += 1
        try:
            answer = self._session().request(
                method,
                self.server + path,
                params=params,
                json=body,
                timeout=_SECONDS,
                verify=self._ca,
                cert=self._credentials.certificate(),
                headers=self._credentials.headers(),
            )
        except requests.RequestException as error:
            raise ApiUnreachable(
                f"Kubernetes at {self.server} does not answer: {type(error).__name__}"
            ) from error
        if answer.status_code == 404 and missing:
            return None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise ApiUnreachable(
                f"Kubernetes at {self.server} answers {answer.status_code} to {method} {path}"
            )
        if answer.status_code >= 400:
            told = _status(answer.text)
            raise ApiRefused(
                f"Kubernetes refuses {method} {path}: {told.get('message') or answer.text[:300]}",
                status=answer.status_code,
                reason=told.get("reason", ""),
            )
        # A log's type names no charset, for which requests would take Latin-1.
        return answer.json() if parse else answer.content.decode("utf-8", "replace")

    def _session(self) -> Any:
        import requests

        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            # Else REQUESTS_CA_BUNDLE and ~/.netrc win over the kubeconfig.
            self._local.session.trust_env = False
        return self._local.session


class Credentials:
    """A user of a kubeconfig: client certificate, token, token file or exec plugin. Read anew as they rotate."""

    def __init__(self, user: Mapping[str, Any], folder: Path = Path()) -> None:
        self._user, self._folder = user, folder
        self._certificate = _file(user, "client-certificate", folder), _file(user, "client-key", folder)
        self._token, self._until = "", 0.0

    def certificate(self) -> tuple[str, str] | None:
        certificate, key = self._certificate
        return (certificate, key) if certificate and key else None

    def headers(self) -> dict[str, str]:
        token = self._user.get("token") or ""
        if not token and (path := self._user.get("tokenFile")):
            token = (self._folder / path).read_text().strip()
        if not token and "exec" in self._user:
            token = self._plugin()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _plugin(self) -> str:
        if time.time() < self._until:
            return self._token
        plugin = self._user["exec"]
        environment = {**os.environ, **{e["name"]: e["value"] for e in plugin.get("env") or []}}
        command = [plugin["command"], *(plugin.get("args") or [])]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
        except FileNotFoundError as error:
            raise ConfigError(
                f"the kubeconfig asks {plugin['command']} for a token, but it is not here"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"the kubeconfig's {plugin['command']} gave no token in 60 s: does it ask for a login?"
            ) from error
        if done.returncode:
            raise ConfigError(f"the kubeconfig's {plugin['command']} failed: {done.stderr.strip()[-500:]}")
        status = json.loads(done.stdout)["status"]
        expires = status.get("expirationTimestamp")
        self._until = (
            datetime.fromisoformat(expires.replace("Z", "+00:00")).timestamp() - 60
            if expires
            else float("inf")
        )
        if not (token := status.get("token")):
            raise ConfigError(
                f"the kubeconfig's {plugin['command']} gave no token; client certificates are not read"
            )
        self._token = token
        return self._token


def _named(
    configs: Sequence[tuple[Path, Mapping[str, Any]]], kind: str, name: str
) -> tuple[Mapping[str, Any], Path]:
    """The first entry of that name, and the folder to which its paths are relative."""
    for file, config in configs:
        for entry in config.get(kind) or []:
            if entry["name"] == name:
                return entry, file.parent
    raise ConfigError(f"{', '.join(str(file) for file, _ in configs)}: no entry {name!r} under {kind}")


def _file(entry: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """Path of what a kubeconfig holds by path or, as base64, in itself."""
    if data := entry.get(f"{key}-data"):
        return _in_memory(data)
    return str(folder / entry[key]) if entry.get(key) else None


@cache
def _in_memory(data: str) -> str:
    """A path to these bytes for as long as this process lives. On Linux no disk ever holds them: a key is among them."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("asgard-kube")
        with open(number, "wb", closefd=False) as file:
            file.write(base64.b64decode(data))
        return f"/proc/self/fd/{number}"
    with tempfile.NamedTemporaryFile(prefix="asgard-kube-", delete=False) as file:
        file.write(base64.b64decode(data))
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


def _status(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
