"""Lists of servers that nobody here wrote: each with the variables of its example and the server's own rows."""

from __future__ import annotations

import json
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.foreign import datasette, free_port, node_modules, python_server, running

ROWS = 137
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Served:
    """`variables`: what the example's YAML takes from the environment; `rows`: what the server says it has."""

    variables: Mapping[str, str]
    rows: list[dict[str, Any]]


def order(n: int) -> dict[str, Any]:
    """An order that has a bit of everything."""
    return {"customer": f"Čtvrtek {n}", "amount": n / 8 + 0.1, "lines": [{"sku": n % 5}], "note": None}


def ask(url: str, body: Any = None, method: str = "", headers: Mapping[str, str] | None = None) -> Any:
    """The server's answer as JSON."""
    data = None if body is None else json.dumps(body).encode()
    told = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, told, method=method or ("POST" if data else "GET"))
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or "null")


@contextmanager
def _node(script: str, path: str, folder: Path) -> Iterator[str]:
    port = free_port()
    command = ["node", str(_HERE / "node" / script), str(port)]
    with running(command, port, path, folder, NODE_PATH=str(node_modules())) as url:
        yield url


@contextmanager
def couchdb(folder: Path) -> Iterator[Served]:
    with _node("couchdb.js", "/", folder) as url:
        ask(f"{url}/shop", method="PUT")
        ask(f"{url}/shop/_bulk_docs", {"docs": [{"_id": f"o{n:04}", **order(n)} for n in range(ROWS)]})
        changes = ask(f"{url}/shop/_changes?include_docs=true")
        yield Served({"COUCHDB_URL": url}, changes["results"])


@contextmanager
def odata(folder: Path) -> Iterator[Served]:
    with _node("odata.js", "/orders", folder) as url:
        for n in range(ROWS):
            made = {name: value for name, value in order(n).items() if name != "lines"}
            ask(f"{url}/orders", {"_id": f"o{n:04}", **made})
        yield Served({"ODATA_URL": url}, ask(f"{url}/orders")["value"])


@contextmanager
def cosmos(folder: Path) -> Iterator[Served]:
    port = free_port()
    command = [
        str(node_modules() / ".bin/cosmosdb-server"),
        "--no-ssl",
        "--host",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with running(command, port, "/", folder) as url:
        ask(f"{url}/dbs", {"id": "shop"})
        ask(f"{url}/dbs/shop/colls", {"id": "orders"})
        documents = f"{url}/dbs/shop/colls/orders/docs"
        for n in range(ROWS):
            ask(documents, {"id": f"o{n}", **order(n)})
        yield Served({"COSMOS_URL": url}, ask(documents)["Documents"])


@contextmanager
def kinto(folder: Path) -> Iterator[Served]:
    bin_, port = python_server("kinto"), free_port()
    memory = {name: f"kinto.core.{name}.memory" for name in ("storage", "cache", "permission")}
    (folder / "kinto.ini").write_text(
        "[app:main]\nuse = egg:kinto\nmultiauth.policies = basicauth\nkinto.userid_hmac_secret = tests\n"
        "kinto.bucket_create_principals = system.Authenticated\n"
        + "".join(f"kinto.{name}_backend = {module}\n" for name, module in memory.items())
        + f"[server:main]\nuse = egg:waitress#main\nhost = 127.0.0.1\nport = {port}\n"
    )
    login = {"Authorization": f"Basic {b64encode(b'asgard:a-long-password').decode()}"}
    with running([str(bin_ / "kinto"), "start", "--ini", "kinto.ini"], port, "/v1/", folder) as url:
        orders = f"{url}/v1/buckets/shop/collections/orders"
        for made in (f"{url}/v1/buckets/shop", orders):
            ask(made, method="PUT", headers=login)
        for start in range(0, ROWS, 25):
            sent = [
                {
                    "method": "PUT",
                    "path": f"{orders.removeprefix(url)}/records/o{n}",
                    "body": {"data": order(n)},
                }
                for n in range(start, min(start + 25, ROWS))
            ]
            ask(f"{url}/v1/batch", {"requests": sent}, headers=login)
        rows = ask(f"{orders}/records", headers=login)["data"]
        yield Served({"KINTO_URL": url, "KINTO_PASSWORD": "a-long-password"}, rows)


@contextmanager
def _django(folder: Path, path: str) -> Iterator[tuple[str, Any]]:
    port = free_port()
    command = [str(python_server("django") / "python"), str(_HERE / "django_shop.py"), str(port), str(ROWS)]
    with running(command, port, path, folder) as url:
        yield url, ask(f"{url}{path}")


@contextmanager
def django(folder: Path) -> Iterator[Served]:
    with _django(folder, "/all/") as (url, rows):
        yield Served({"DJANGO_URL": url}, rows)


@contextmanager
def json_api(folder: Path) -> Iterator[Served]:
    with _django(folder, "/jsonapi/all/") as (url, document):
        yield Served({"DJANGO_URL": url}, document["data"])


@contextmanager
def graphql(folder: Path) -> Iterator[Served]:
    with datasette(folder, ROWS) as (url, _):
        query = "{orders(first: 1000) {nodes {id customer amount updated_at note}}}"
        rows = ask(f"{url}/graphql", {"query": query})["data"]["orders"]["nodes"]
        yield Served({"DATASETTE_URL": url}, rows)


@contextmanager
def mlflow(folder: Path) -> Iterator[Served]:
    port = free_port()
    store = f"sqlite:///{folder}/mlflow.db"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(folder)]
    with running(command, port, "/health", folder) as url:
        models = f"{url}/api/2.0/mlflow/registered-models"
        for n in range(ROWS):
            ask(f"{models}/create", {"name": f"churn-{n:03}", "description": f"Modell für {n}"})
        rows = ask(f"{models}/search?max_results=1000")["registered_models"]
        yield Served({"MLFLOW_URL": url}, rows)
