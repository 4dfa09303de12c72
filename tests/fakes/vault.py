"""Vault's API as far as secrets are read: kv 2, logins for a while, AppRole and Kubernetes.

No server of it can be had from the registries without building it from Rust, so this stands for one; the client is hvac, Vault's own
for Python. Paths and answers are those of Vault's API documentation (1.19).
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Vault:
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=lambda: {"root": 0.0})
    """Those that are good, with their seconds; 0: for ever."""
    leases: set[str] = field(default_factory=set)
    renewals: int = 0
    lease_seconds: float = 60.0
    sealed: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(f"{method} {path}")
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if path in ("auth/approle/login", "auth/kubernetes/login"):
            good = body.get("secret_id") == "s" if "approle" in path else body.get("jwt") == "pod"
            return (200, self._login()) if good else (400, {"errors": ["invalid role or secret ID"]})
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        match path.split("/"):
            case ["auth", "token", "renew-self"]:
                self.renewals += 1
                return 200, self._auth(token)
            case ["auth", "token", "revoke-self"]:
                del self.tokens[token]
                return 204, {}
            case ["sys", "leases", "renew"]:
                self.renewals += 1
                known = body["lease_id"] in self.leases
                return (
                    (200, {"lease_id": body["lease_id"], "lease_duration": self.lease_seconds})
                    if known
                    else (400, {"errors": ["lease not found"]})
                )
            case ["sys", "leases", "revoke"]:
                self.leases.discard(body["lease_id"])
                return 204, {}
            case ["database", "creds", role]:
                lease = f"database/creds/{role}/{uuid.uuid4().hex}"
                self.leases.add(lease)
                told = {"username": f"v-{len(self.asked)}", "password": f"made-{len(self.asked)}"}
                return 200, {
                    "lease_id": lease,
                    "lease_duration": self.lease_seconds,
                    "renewable": True,
                    "data": told,
                }
            case ["secret", "data", *_] if path in self.kept:
                return 200, {"lease_id": "", "data": {"data": self.kept[path], "metadata": {"version": 1}}}
        return 404, {"errors": []}

    def _login(self) -> dict[str, Any]:
        token = uuid.uuid4().hex
        self.tokens[token] = self.lease_seconds
        return self._auth(token)

    def _auth(self, token: str) -> dict[str, Any]:
        return {"auth": {"client_token": token, "lease_duration": self.tokens[token], "renewable": True}}


@contextmanager
def vault() -> Iterator[Vault]:
    told = Vault()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            path = self.path.removeprefix("/v1/")
            status, said = told.answer(self.command, path, self.headers.get("X-Vault-Token", ""), body)
            sent = json.dumps(said).encode() if status != 204 else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
