"""Drivers as SparkApplications: submitted to the Spark operator, observed, explained, ended, swept away.

Observing polls: one read of the application every `poll_seconds`, one of the pod while it starts, one of the
log. A watch would be one connection for each host process and misses what happens while it is cut; at 5 s the
polls are at most 32 calls a minute and application, by the pauses below.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asgard_assets.errors import SparkJobError
from asgard_assets.spark import diagnosis
from asgard_assets.spark.application import (
    DRIVER,
    EXECUTOR,
    Metadata,
    PodSpec,
    SparkApplication,
    SparkApplicationSpec,
    shaped,
    with_container,
)
from asgard_assets.spark.diagnosis import Deadlines
from asgard_assets.spark.kube import Api, ApiRefused, ApiUnreachable
from asgard_assets.spark.pod_log import PodLog
from asgard_assets.spark.submit import Driver, Handle, State

MANAGED = "app.kubernetes.io/managed-by"
RUN_LABEL = "asgard/run-id"
_EVENTS = 8
_GONE_SECONDS = 60
_AWAY_SECONDS = 180
_ENDING_SECONDS = 1.0
_QUEUE_SECONDS = 60


@dataclass
class _Watched:
    """What is known of one application."""

    uid: str
    since: float
    seen: float
    app: Mapping[str, Any] | None = None
    pod: Mapping[str, Any] | None = None
    pod_since: float | None = None
    executors_since: float | None = None
    state: State = State()
    next_look: float = 0.0
    next_pod: float = 0.0
    next_log: float = 0.0
    unheard: float | None = None
    log: PodLog = field(default_factory=lambda: PodLog(DRIVER))
    tail: str = ""
    hurried: bool = False
    marks: dict[str, float] = field(default_factory=dict)

    def mark(self, what: str) -> None:
        self.marks.setdefault(what, round(time.monotonic() - self.since, 1))


@dataclass
class KubernetesSubmitter:
    """Submits `spec`, completed for each driver, to the operator in `namespace`.

    A driver's `env` may be secret (the step's signing key), so it goes into a Secret that the application owns
    and that is deleted with it; `env` of this submitter is not secret and stands in the pods' templates.
    `secrets` are names of Secrets whose keys become environment variables of driver and executors.
    """

    api: Api
    namespace: str
    spec: SparkApplicationSpec
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    application_folder: str = "local:///opt/asgard"
    limits: Deadlines = Deadlines()
    poll_seconds: float = 5.0
    unreachable_seconds: float = 180.0
    bounds_start: bool = True
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def submit(self, driver: Driver) -> Handle:
        """Create the application and the secret that it owns. Raises ApiRefused where that is not allowed.

        One of the same name is what a host that died has left: it is deleted first, so that no two drivers work
        at one attempt.
        """
        # Of its own name: one that a dead host has left goes only some time after its application.
        secret = f"{driver.name}-{os.urandom(4).hex()}"
        manifest = self.application(driver, secret).manifest()
        try:
            made = self._made(driver.name, manifest)
            now = time.monotonic()
            watched = self._watched[driver.name] = _Watched(made["metadata"]["uid"], now, now)
            self._retried(lambda: self._keep(secret, driver, watched.uid))
        except BaseException as error:
            if not isinstance(error, ApiRefused) or driver.name in self._watched:
                # Without the secret no driver starts; and what was not answered may have been made all the same.
                delete(self.api, self.namespace, driver.name, away_seconds=_ENDING_SECONDS)
            if isinstance(error, ApiRefused):
                raise self._refused(error) from error
            raise
        return Handle(
            driver.name,
            f"SparkApplication {self.namespace}/{driver.name}",
            f"kubectl logs -n {self.namespace} {driver.name}-driver",
        )

    def _made(self, name: str, manifest: Mapping[str, Any]) -> Any:
        """The application, made by this call and by nobody else."""
        for last in (False, False, True):
            try:
                return self._retried(lambda: self.api.post(self._applications, manifest))
            except ApiRefused as error:
                # Of a host that died, or of this one where the answer was lost.
                if last or error.attributes["reason"] != "AlreadyExists":
                    raise
                delete(self.api, self.namespace, name)
        raise AssertionError

    def _keep(self, secret: str, driver: Driver, owner: str) -> None:
        """Make the secret; one that is there is ours, of a call whose answer was lost."""
        try:
            self.api.post(self._core("secrets"), self._secret(secret, driver, owner))
        except ApiRefused as error:
            if error.attributes["reason"] != "AlreadyExists":
                raise

    def application(self, driver: Driver, secret: str = "") -> SparkApplication:
        """The object for one driver; `secret` is the name of the Secret that will hold its environment."""
        labels = {MANAGED: "asgard", **{key: _label(value) for key, value in self.labels.items()}}
        plain = [{"name": key, "value": value} for key, value in sorted(self.env.items())]
        shared = [{"secretRef": {"name": name}} for name in self.secrets]
        own = [{"secretRef": {"name": secret or f"{driver.name}-env"}}] if driver.env else []
        spec = self.spec
        conf = {
            # Ten seconds, Spark's own, fail a step where the API server is only slow.
            "spark.kubernetes.driver.connectionTimeout": "60000",
            "spark.kubernetes.driver.requestTimeout": "60000",
            "spark.kubernetes.submission.connectionTimeout": "60000",
            "spark.kubernetes.submission.requestTimeout": "60000",
            **spec.spark_conf,
            # By these names everything here finds the pods.
            "spark.kubernetes.driver.pod.name": f"{driver.name}-driver",
            "spark.kubernetes.executor.podNamePrefix": driver.name,
        }
        script = driver.file or f"{self.application_folder}/{driver.module.replace('.', '/')}.py"
        sides: dict[str, Any] = {}
        for side, name, sources in (("driver", DRIVER, [*shared, *own]), ("executor", EXECUTOR, shared)):
            part: PodSpec = getattr(spec, side)
            shape = shaped(part, name, spec.volumes)
            shape["template"] = with_container(shape["template"], name, {"env": plain, "envFrom": sources})
            sides[side] = part.model_copy(update={**shape, "labels": {**labels, **(part.labels or {})}})
        update: dict[str, Any] = {
            "main_application_file": script,
            "arguments": list(driver.args) or None,
            "spark_conf": conf,
            "volumes": None,
            **sides,
        }
        metadata = Metadata(
            name=driver.name, namespace=self.namespace, labels=labels, annotations=dict(self.annotations)
        )
        return SparkApplication(metadata=metadata, spec=spec.model_copy(update=update))

    def state(self, handle: Handle) -> State:
        """Where the driver stands, at most `poll_seconds` ago. An API server that is away is waited for."""
        watched, now = self._watched[handle.name], time.monotonic()
        if watched.state.ended or now < watched.next_look:
            return watched.state
        watched.next_look = now + self._pause(watched, now)
        try:
            watched.state = self._look(handle.name, watched, now)
            watched.unheard = None
        except (ApiUnreachable, ApiRefused) as error:
            if not _passing(error):
                raise
            watched.unheard = watched.unheard or now
            watched.state = replace(watched.state, stale=True)
            if now - watched.unheard > self.unreachable_seconds:
                watched.state = State(
                    lost=True,
                    reason=f"Kubernetes was out of reach for {now - watched.unheard:.0f} s: {error.message}",
                    fix="the driver stops by itself when it no longer hears this host; run the step again",
                )
        return watched.state

    def _pause(self, watched: _Watched, now: float) -> float:
        """Until the next look: short where the end is near, long where the operator's queue is.

        An application that has ended is looked at twice before the operator deletes it.
        """
        if watched.hurried:
            return min(self.poll_seconds, _ENDING_SECONDS)
        queued = watched.pod_since is None and now - watched.since > _QUEUE_SECONDS
        pause = self.poll_seconds * (3 if queued else 1)
        kept = self.spec.time_to_live_seconds
        return min(pause, kept / 2) if kept else pause

    def hurry(self, handle: Handle) -> None:
        watched = self._watched[handle.name]
        if not watched.hurried:
            watched.hurried, watched.next_look = True, 0.0

    def logs(self, handle: Handle, cursor: int = 0) -> tuple[str, int]:
        """The driver's output since the last call; its last lines are kept when the pod is gone."""
        watched, now = self._watched[handle.name], time.monotonic()
        if watched.pod_since is None or (now < watched.next_log and not watched.state.ended):
            return "", cursor
        watched.next_log = now + max(self.poll_seconds * 1.5, 1.0)
        try:
            new = watched.log.read(
                self.api, f"{self._core('pods')}/{handle.name}-driver/log", watched.state.ended
            )
        except (ApiUnreachable, ApiRefused):
            return "", cursor  # the log is a help, not the result: what ended the driver is told by its state
        joined = "".join(f"{line}\n" for line in new)
        watched.tail = (watched.tail + joined)[-20_000:]
        return joined, cursor + len(joined)

    def events(self, handle: Handle) -> list[str]:
        """The last events of the application and its pods, newest last."""
        try:
            found = self.api.get(self._core("events"))
        except (ApiUnreachable, ApiRefused):
            return []
        own = [
            e
            for e in (found or {}).get("items", [])
            if e["involvedObject"].get("name", "").startswith(handle.name)
        ]
        own.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        return [f"{e['type']} {e['reason']}: {(e.get('message') or '')[:300]}" for e in own][-_EVENTS:]

    def marks(self, handle: Handle) -> Mapping[str, float]:
        """Seconds from submission to what was seen first: pod, running, executor."""
        return dict(self._watched[handle.name].marks)

    def metrics(self, handle: Handle) -> Mapping[str, int]:
        """What the application took: executors, those of them that were lost, and calls to the API server."""
        status = (self._watched[handle.name].app or {}).get("status", {})
        states = list((status.get("executorState") or {}).values())
        return {
            "executors": len(states),
            "lost_executors": sum(state in ("FAILED", "UNKNOWN") for state in states),
            "kubernetes_calls": self.api.calls,
        }

    def cancel(self, handle: Handle, grace_seconds: float = 10) -> None:
        """Delete the application with its pods and its secret, and wait until it is gone."""
        if handle.name in self._watched:
            delete(self.api, self.namespace, handle.name)

    def forget(self, handle: Handle) -> None:
        self._watched.pop(handle.name, None)

    def _look(self, name: str, watched: _Watched, now: float) -> State:
        app = self.api.get(f"{self._applications}/{name}")
        if app is not None and app["metadata"]["uid"] != watched.uid:
            app = None  # deleted, and made anew by another host
        told = diagnosis.application_state(app) if app else ""
        pod = None
        ending = (
            app is None or told not in ("", "SUBMITTED", "RUNNING") or "deletionTimestamp" in app["metadata"]
        )
        starting = bool(told) and "running" not in watched.marks  # the operator has taken it up
        looked = ending or starting or watched.hurried or now >= watched.next_pod
        if looked:
            watched.next_pod = now + 15
            pod = self.api.get(f"{self._core('pods')}/{name}-driver")
            watched.pod = pod or watched.pod
            if pod and watched.pod_since is None:
                watched.pod_since = now
                watched.mark("pod")
        unseen, watched.app = now - watched.seen, app or watched.app
        if app is not None:
            watched.seen = now
        elif (kept := self.spec.time_to_live_seconds) and unseen > kept:
            return diagnosis.expired(unseen, kept)
        found = diagnosis.state(app, watched.pod, pod_is_there=pod is not None or not looked)
        if found is not None:
            return found
        assert app is not None
        if watched.pod and watched.pod.get("status", {}).get("phase") == "Running":
            watched.mark("running")
        if "running" not in watched.marks:
            since = watched.pod_since if watched.pod_since is not None else watched.since
            return diagnosis.not_starting(app, watched.pod, now - since, self.limits) or State()
        return self._executors(name, app, watched, now) or State(running=True)

    def _executors(self, name: str, app: Mapping[str, Any], watched: _Watched, now: float) -> State | None:
        states = app.get("status", {}).get("executorState") or {}
        if any(state not in ("PENDING", "UNKNOWN", "FAILED") for state in states.values()):
            watched.mark("executor")
        if "executor" in watched.marks or not self.waits_for_executors(states, watched.tail):
            return None
        watched.executors_since = watched.executors_since or now
        waited = now - watched.executors_since
        if waited < self.limits.executors:
            return None
        query = f"spark-role=executor,{_APP_NAME}={name}"
        pods = (self.api.get(self._core("pods"), labelSelector=query) or {}).get("items", [])
        return diagnosis.no_executors(pods, watched.tail, waited)

    @staticmethod
    def waits_for_executors(states: Mapping[str, str], tail: str) -> bool:
        """Whether executors were asked for: pods are pending, or the driver's log complains that none comes."""
        return bool(states) or "exceeded quota" in tail or "has not accepted any resources" in tail

    def _retried(self, call: Any) -> Any:
        """Call once more, and again, while the API server is out of reach."""
        deadline = time.monotonic() + self.unreachable_seconds
        while True:
            try:
                return call()
            except ApiUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def _refused(self, error: ApiRefused) -> SparkJobError:
        if error.attributes["status"] == 401:
            return SparkJobError(
                f"{error.message}. To fix: Kubernetes does not know who asks; has the token of the kubeconfig "
                "(KUBECONFIG), or of this pod's account, expired?",
                exit_code=None,
            )
        if error.attributes["reason"] == "Forbidden" and "exceeded quota" not in error.message:
            return SparkJobError(
                f"{error.message}. To fix: bind the role of the Helm chart's rbac.yaml (sparkapplications, pods, logs, "
                "events, secrets) to the account that runs Dagster's steps.",
                exit_code=None,
            )
        if error.attributes["status"] == 404:
            return SparkJobError(
                f"{error.message}. To fix: does the namespace {self.namespace} exist, and is the Spark operator "
                "(its CustomResourceDefinitions) installed?",
                exit_code=None,
            )
        return SparkJobError(error.message, exit_code=None)

    @staticmethod
    def _secret(name: str, driver: Driver, owner: str) -> Mapping[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "labels": {MANAGED: "asgard", _APP_NAME: driver.name},
                "ownerReferences": [
                    {
                        "apiVersion": "sparkoperator.k8s.io/v1beta2",
                        "kind": "SparkApplication",
                        "name": driver.name,
                        "uid": owner,
                    }
                ],
            },
            "stringData": dict(driver.env),
        }

    @property
    def _applications(self) -> str:
        return applications_path(self.namespace)

    def _core(self, kind: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}"


_APP_NAME = "sparkoperator.k8s.io/app-name"


def applications_path(namespace: str) -> str:
    return f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{namespace}/sparkapplications"


def delete(api: Api, namespace: str, name: str, away_seconds: float = _AWAY_SECONDS) -> None:
    """Delete an application with all that it owns, and wait until it is gone.

    An API server that is away is waited for `away_seconds`; then the application is left to its time to live.
    """
    path, asked = f"{applications_path(namespace)}/{name}", False
    deadline = time.monotonic() + _GONE_SECONDS
    last = time.monotonic() + away_seconds
    while time.monotonic() < deadline:
        try:
            if not asked:
                api.delete(path)
                asked = True
            if api.get(path) is None:
                return
        except (ApiUnreachable, ApiRefused) as error:
            if not _passing(error):
                raise
            deadline = min(time.monotonic() + _GONE_SECONDS, last)
        time.sleep(0.5)


def _passing(error: ApiUnreachable | ApiRefused) -> bool:
    """Whether waiting may help. An API server that has just started refuses everybody until it has read the roles."""
    return isinstance(error, ApiUnreachable) or error.attributes["status"] in (401, 403)


def managed(api: Api, namespace: str, **labels: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Names and labels of the applications that Asgard made in the namespace."""
    selector = ",".join([f"{MANAGED}=asgard", *(f"{key}={_label(value)}" for key, value in labels.items())])
    for app in (api.get(applications_path(namespace), labelSelector=selector) or {}).get("items", []):
        yield app["metadata"]["name"], app["metadata"].get("labels", {})


def sweep(api: Api, namespace: str, ended: Callable[[str], bool]) -> list[str]:
    """Delete the applications of runs (by id) that have `ended`; returns their names."""
    swept = []
    for name, labels in managed(api, namespace):
        if ended(labels.get(RUN_LABEL, "")):
            delete(api, namespace, name)
            swept.append(name)
    return swept


def _label(text: str) -> str:
    """Text as a label's value: at most 63 characters of those that Kubernetes allows."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:63].strip("_.-")
