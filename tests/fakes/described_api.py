"""A server that answers as an OpenAPI document says: items by its schemas, pages and login as told here by hand."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SECRET = "a-long-secret-0815"


@dataclass(frozen=True)
class Asked:
    """One request: its query, the address of its path, all rows of that path, and the size that holds."""

    query: Mapping[str, str]
    url: str
    rows: list[dict[str, Any]]
    cap: int

    def size(self, name: str, usual: int = 10) -> int:
        return min(int(self.query.get(name) or usual), self.cap)

    def again(self, **changes: Any) -> str:
        return f"{self.url}?{urlencode({**self.query, **changes})}"


@dataclass(frozen=True)
class Page:
    """What an answer has: its items, what stands around them, and headers."""

    items: list[dict[str, Any]]
    around: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


Paging = Callable[[Asked], Page]


def numbered(page: str, size: str | None, start: int = 1, pages: str = "", link: bool = False) -> Paging:
    """Pages counted from `start`; a page past the end is empty."""

    def answer(asked: Asked) -> Page:
        count = asked.size(size) if size else asked.cap
        number = int(asked.query.get(page) or start)
        rows = asked.rows[max(number - start, 0) * count :][:count] if number >= start else []
        more = (number - start + 1) * count < len(asked.rows)
        around = {pages: -(-len(asked.rows) // count)} if pages else {}
        headers = {"Link": f'<{asked.again(**{page: number + 1})}>; rel="next"'} if link and more else {}
        return Page(rows, around, headers)

    return answer


def skipped(
    offset: str, size: str, total: str, flag: str = "", next_: str = "", relative: bool = False
) -> Paging:
    def answer(asked: Asked) -> Page:
        count, start = asked.size(size), int(asked.query.get(offset) or 0)
        over = start + count >= len(asked.rows)
        around: dict[str, Any] = {total: len(asked.rows), offset: start, size: count}
        around |= {flag: over} if flag else {}
        above = next_.partition(".")[0]
        around |= {above: {} if "." in next_ else None} if next_ else {}
        if next_ and not over:
            address = asked.again(**{offset: start + count})
            around[next_] = (
                address.partition("://")[2].partition("/")[2].join(("/", "")) if relative else address
            )
        return Page(asked.rows[start : start + count], around)

    return answer


def by_token(
    param: str, size: str, at: str, end: Any = None, link: bool = False, number: bool = False
) -> Paging:
    """A token that names where to go on, at a path of the body (`at`) or in a Link header."""

    def answer(asked: Asked) -> Page:
        count, start = asked.size(size), int(str(asked.query.get(param) or "t0").lstrip("t"))
        over = start + count >= len(asked.rows)
        token: Any = (start + count) if number else f"t{start + count}"
        around = {at: end if over else token} if at else {}
        if over and end is ...:
            around = {at.rpartition(".")[0]: {}}
        headers = {"Link": f'<{asked.again(**{param: token})}>; rel="next"'} if link and not over else {}
        return Page(asked.rows[start : start + count], around, headers)

    return answer


def addressed(param: str, size: str, at: str, beside: Mapping[str, str] | None = None) -> Paging:
    """The next page's address at a path of the body, null at the end; `beside`: its token too."""

    def answer(asked: Asked) -> Page:
        count, start = asked.size(size), int(asked.query.get(param) or 0)
        over = start + count >= len(asked.rows)
        around = {at: None if over else asked.again(**{param: start + count})}
        for name in beside or ():
            around[name] = None if over else str(start + count)
        if over and "." in at and beside:
            around = {at.partition(".")[0]: None}
        return Page(asked.rows[start : start + count], around)

    return answer


# Logins ----------------------------------------------------------------------------------------------------


def basic(user: str) -> tuple[str, str]:
    return "authorization", f"Basic {b64encode(f'{user}:{SECRET}'.encode()).decode()}"


def bearer() -> tuple[str, str]:
    return "authorization", f"Bearer {SECRET}"


# The server ------------------------------------------------------------------------------------------------


def resolved(document: Any, node: Any) -> Any:
    """What a `$ref` leads to."""
    while "$ref" in node:
        found = document
        for part in node["$ref"][2:].split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def values(document: Any, schema: Any, n: int, name: str = "", depth: int = 0) -> Any:
    """A value of the schema, which differs from row to row."""
    schema = resolved(document, schema)
    for name_ in ("allOf", "oneOf", "anyOf"):
        parts = [values(document, part, n, name, depth) for part in schema.get(name_) or ()]
        if name_ == "allOf" and parts and all(isinstance(part, dict) for part in parts):
            own = values(document, {k: v for k, v in schema.items() if k != "allOf"}, n, name, depth)
            return {k: v for part in [*parts, own if isinstance(own, dict) else {}] for k, v in part.items()}
        if parts:
            return next((part for part in parts if part is not None), None)
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    kind = next((k for k in kinds if k != "null"), "null") if isinstance(kinds, list) else kinds
    if schema.get("enum"):
        return schema["enum"][n % len(schema["enum"])]
    match kind:
        case "object":
            inner = schema.get("properties") or {}
            return {k: values(document, v, n, k, depth + 1) for k, v in inner.items()} if depth < 4 else {}
        case "array":
            return [values(document, schema.get("items") or {}, n, name, depth + 1)] if depth < 3 else []
        case "integer":
            return n + 1
        case "number":
            return n + 0.25
        case "boolean":
            return n % 2 == 0
        case "null":
            return None
    return f"2026-10-{n % 28 + 1:02}T00:00:00Z" if schema.get("format") == "date-time" else f"{name} {n} ü"


def put(body: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path of the body."""
    *above, name = path.split(".")
    for part in above:
        body = body.setdefault(part, {}) if isinstance(body.get(part, {}), dict) else body
    body[name] = value


@dataclass(frozen=True)
class Api:
    """What is served: the rows of each path, how they are paged, and who may ask."""

    lists: Mapping[str, list[dict[str, Any]]]
    paging: Paging
    items: str
    envelope: dict[str, Any]
    login: tuple[str, str] | None = None
    cap: int = 1000
    token_path: str = ""

    def get(self, target: str, headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body and headers. Header names are lower case."""
        parts = urlsplit(target)
        if self.login and headers.get(self.login[0]) != self.login[1]:
            return 401, {"message": "who are you?"}, {"WWW-Authenticate": f"{self.login[1].split()[0]} x"}
        if parts.path not in self.lists:
            return 404, {"message": "no such path"}, {}
        url = f"http://{headers['host']}{parts.path}"
        page = self.paging(Asked(dict(parse_qsl(parts.query)), url, self.lists[parts.path], self.cap))
        if not self.items:
            return 200, page.items, page.headers
        body = json.loads(json.dumps(self.envelope))
        for path, value in page.around.items():
            put(body, path, value)
        put(body, self.items, page.items)
        return 200, body, page.headers

    def post(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        """A token for the client that shows its secret."""
        if path == self.token_path and headers.get("authorization") == basic("asgard")[1]:
            return 200, {"access_token": SECRET, "token_type": "Bearer", "expires_in": 3600}, {}
        return 401, {"error": "invalid_client"}, {}


@contextmanager
def served(api: Api) -> Iterator[str]:
    """The address of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(*api.get(self.path, {name.lower(): value for name, value in self.headers.items()}))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send(*api.post(self.path, {name.lower(): value for name, value in self.headers.items()}))

        def send(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Not to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
