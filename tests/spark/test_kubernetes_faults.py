"""What a real API server does only at bad moments: answers that are lost, names that are taken, logs that overflow.

The server here keeps objects by their path and stands for Kubernetes in these moments alone; tests/cluster has the
real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from asgard_assets.errors import SparkJobError
from asgard_assets.spark import kubernetes, pod_log
from asgard_assets.spark.application import DRIVER as DRIVER_CONTAINER
from asgard_assets.spark.application import merged
from asgard_assets.spark.kube import Api, ApiUnreachable, Credentials
from asgard_assets.spark.kubernetes import KubernetesSubmitter
from asgard_assets.spark.pod_log import PodLog
from asgard_assets.spark.submit import Driver
from tests.patience import patience

DRIVER = Driver("asgard-1-2-0", "m", env={"KEY": "canary"})
Answer = tuple[int, Any]


class Cluster(ThreadingHTTPServer):
    """Objects by path. `moment` may answer in the server's place: before (None: go on) or after it has acted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, Any] = {}
        self.lines: list[str] = []
        self.asked: list[str] = []
        self.moment: Callable[[str, str], Answer | None] = lambda _method, _path: None
        self.after: Callable[[str, str], Answer | None] = lambda _method, _path: None

    def act(self, method: str, path: str, body: Any, query: dict[str, str]) -> Answer:
        if path.endswith("/log"):
            return 200, self.log(query)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return 409, {"reason": "AlreadyExists", "message": f"{path} already exists"}
            body["metadata"]["uid"] = f"uid-{len(self.asked)}"
            self.objects[path] = body
            return 201, body
        if method == "DELETE":
            gone = self.objects.pop(path, None)
            # What it owns is collected some time later: here, never.
            return (404, {}) if gone is None else (200, {})
        if path.rsplit("/", 1)[-1] in ("sparkapplications", "secrets"):
            return 200, {"items": [thing for name, thing in self.objects.items() if name.startswith(path)]}
        return (200, self.objects[path]) if path in self.objects else (404, {})

    def log(self, query: dict[str, str]) -> str:
        if "tailLines" in query:
            return "\n".join(self.lines[-int(query["tailLines"]) :]) + "\n"
        since = query.get("sinceTime", "")[:19]  # whole seconds, as kubelets are asked
        text = "".join(f"{line}\n" for line in self.lines if line[:19] >= since)
        return text.encode()[: int(query["limitBytes"])].decode("utf-8", "ignore")


class Handler(BaseHTTPRequestHandler):
    server: Cluster

    def do_GET(self) -> None:
        url, cluster = urlparse(self.path), self.server
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        cluster.asked.append(f"{self.command} {url.path.rsplit('/', 1)[-1]}")
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        answer = cluster.moment(self.command, url.path)
        if answer is None:
            answer = cluster.act(self.command, url.path, body, query)
            answer = cluster.after(self.command, url.path) or answer
        text = answer[1] if isinstance(answer[1], str) else json.dumps(answer[1])
        self.send_response(answer[0])
        self.send_header("Content-Type", "text/plain" if isinstance(answer[1], str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def submitter(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> KubernetesSubmitter:
    monkeypatch.setattr(kubernetes.time, "sleep", lambda _seconds: None)
    api = Api(f"http://127.0.0.1:{cluster.server_port}", Credentials({}), False)
    spec = merged({"test": {"image": "asgard:1"}})
    return KubernetesSubmitter(api, "pipelines", spec, poll_seconds=0, unreachable_seconds=patience(1))


def once(method: str, kind: str, answer: Answer) -> Callable[[str, str], Answer | None]:
    """That answer to the first such call."""
    left = [answer]

    def moment(asked: str, path: str) -> Answer | None:
        return left.pop() if left and asked == method and path.endswith(kind) else None

    return moment


def kept(cluster: Cluster, kind: str) -> list[Any]:
    return [thing for path, thing in cluster.objects.items() if f"/{kind}/" in path]


@pytest.mark.parametrize("kind", ["sparkapplications", "secrets"])
def test_a_lost_answer_leaves_one_application_with_its_own_secret(
    submitter: KubernetesSubmitter, cluster: Cluster, kind: str
) -> None:
    cluster.after = once("POST", kind, (504, {}))
    submitter.submit(DRIVER)
    (app,) = kept(cluster, "sparkapplications")
    (secret,) = kept(cluster, "secrets")
    (container,) = app["spec"]["driver"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == app["metadata"]["uid"]


def test_what_a_dead_host_has_left_does_not_give_its_key_to_the_next(
    submitter: KubernetesSubmitter, cluster: Cluster
) -> None:
    """Its application goes first; its secret is collected only some time after."""
    submitter.submit(DRIVER)
    (old,) = kept(cluster, "secrets")
    submitter.submit(DRIVER)
    (app,) = kept(cluster, "sparkapplications")
    (container,) = app["spec"]["driver"]["template"]["spec"]["containers"]
    assert container["envFrom"][0]["secretRef"]["name"] != old["metadata"]["name"]
    assert len(kept(cluster, "secrets")) == 2


def test_an_application_whose_secret_is_refused_is_not_left_to_wait_for_it(
    submitter: KubernetesSubmitter, cluster: Cluster
) -> None:
    cluster.moment = once(
        "POST", "secrets", (403, {"reason": "Forbidden", "message": "secrets is forbidden"})
    )
    with pytest.raises(SparkJobError, match="secrets is forbidden.*rbac.yaml"):
        submitter.submit(DRIVER)
    assert not cluster.objects


def test_a_refused_application_is_told_at_once(submitter: KubernetesSubmitter, cluster: Cluster) -> None:
    cluster.moment = lambda _method, _path: (401, {"reason": "Unauthorized", "message": "Unauthorized"})
    with pytest.raises(SparkJobError, match="Unauthorized.*expired"):
        submitter.submit(DRIVER)
    assert cluster.asked == ["POST sparkapplications"]


def test_an_application_that_was_made_though_nobody_answered_is_deleted(
    submitter: KubernetesSubmitter, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.after = lambda method, _path: (503, {}) if method == "POST" else None
    submitter.unreachable_seconds = 0.05
    with pytest.raises(ApiUnreachable):
        submitter.submit(DRIVER)
    assert not kept(cluster, "sparkapplications")


def said(log: PodLog, cluster: Cluster, times: int = 1, ended: bool = False) -> str:
    """What the driver's log gives in so many looks."""
    api = Api(f"http://127.0.0.1:{cluster.server_port}", Credentials({}), False)
    path = f"/api/v1/namespaces/pipelines/pods/{DRIVER.name}-driver/log"
    return "".join(f"{line}\n" for _ in range(times) for line in log.read(api, path, ended))


def stamped(number: int, text: str, second: int = 0) -> str:
    return f"2026-11-28T12:00:{second:02}.{number:09}Z {text}"


def test_a_line_with_carriage_returns_and_other_breaks_is_one_line(
    cluster: Cluster,
) -> None:
    log = PodLog(DRIVER_CONTAINER)
    cluster.lines = [stamped(1, "10 %\r20 %\r30 %"), stamped(2, "Größe\u2028日本\x85c")]
    assert said(log, cluster) == "10 %\r20 %\r30 %\nGröße\u2028日本\x85c\n"
    assert said(log, cluster) == ""


def test_a_log_that_holds_more_in_a_second_than_one_answer_does_not_end_there(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_log, "LOG_BYTES", 2000)
    cluster.lines = [stamped(n, f"line {n}") for n in range(100)] + [stamped(0, "the next second", 1)]
    cluster.lines.append(stamped(1, "the last", 1))
    assert "the last" in said(PodLog(DRIVER_CONTAINER), cluster, 4)


def test_the_last_lines_of_a_long_log_are_read_when_the_driver_has_ended(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_log, "LOG_BYTES", 2000)
    cluster.lines = [stamped(n, f"line {n}") for n in range(5000)]
    text = said(PodLog(DRIVER_CONTAINER), cluster, ended=True)
    assert text.endswith("line 4999\n") and "\n…\n" in text
