"""What the objects in the API server say about a driver: where it stands, why it will not end well, what to change.

Pure: from the SparkApplication, its driver pod and their events to a `State`. Each case was provoked on a
cluster (tests/cluster); the texts are what a reader of the Dagster UI gets to see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgard_assets.spark.application import DRIVER
from asgard_assets.spark.submit import State

ENDED = {"COMPLETED", "FAILED", "SUBMISSION_FAILED"}


@dataclass(frozen=True)
class Deadlines:
    """Seconds that each part of a start may take."""

    submit: float = 300
    image: float = 20
    start: float = 120
    executors: float = 120


_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_NO_CONTAINER = {"CreateContainerError", "RunContainerError", "CreateContainerConfigError"}


def state(app: Mapping[str, Any] | None, pod: Mapping[str, Any] | None, pod_is_there: bool) -> State | None:
    """How the driver ended, None where it has not. `pod` is the last one that was seen."""
    leaving = app is not None and "deletionTimestamp" in app["metadata"]
    if app is not None and leaving and application_state(app) == "COMPLETED":
        return State(0)  # the operator removes it, or somebody does; it had ended
    if app is None or leaving:
        return State(
            lost=True,
            reason="its SparkApplication was deleted while the step ran",
            fix="ask who deletes applications in this namespace (audit log), then run the step again",
        )
    told = application_state(app)
    message = app.get("status", {}).get("applicationState", {}).get("errorMessage", "")
    if told == "SUBMISSION_FAILED" or (told == "FAILED" and message.startswith("failed to submit")):
        return submission_failed(message)
    if pod is not None:
        found = _pod_state(pod, gone=not pod_is_there)
        if found is not None:
            return found
    if told == "COMPLETED":
        return State(0)
    if told == "FAILED":
        return _from_message(message)
    return None


def expired(unseen: float, kept: float) -> State:
    """The application is gone, and may have been for longer than the operator keeps one that has ended."""
    return State(
        lost=True,
        reason=f"this host did not look at its SparkApplication for {unseen:.0f} s, and then it was gone: an ended "
        f"one is kept for {kept:.0f} s, so how it ended is not known",
        fix="was this host asleep, or short of CPU? run the step again; timeToLiveSeconds in the tag asgard/spark "
        "keeps ended applications longer",
    )


def application_state(app: Mapping[str, Any]) -> str:
    return app.get("status", {}).get("applicationState", {}).get("state", "")


def submission_failed(message: str) -> State:
    """The operator's spark-submit was refused."""
    short = _refusal(message)
    if "exceeded quota" in message:
        return State(
            lost=True,
            reason=f"the namespace's quota is exceeded: {short}",
            fix="wait until other applications are done, ask for less (driver.memory, executor.instances), or raise "
            "the ResourceQuota",
        )
    if "networkpolicies" in message and "forbidden" in message:
        return State(
            lost=True,
            retry=False,
            reason=f"the Spark operator may not make NetworkPolicies, which Spark 4.2 does for each application: {short}",
            fix="give the operator's service account the verbs get, create, patch and delete on networkpolicies "
            "(networking.k8s.io); the Helm chart binds them with rbac.networkPolicies=true",
        )
    if "forbidden" in message.lower():
        return State(
            lost=True,
            retry=False,
            reason=f"Kubernetes forbids the submission: {short}",
            fix="bind the missing right to the Spark operator's service account in this namespace",
        )
    return State(
        lost=True,
        reason=f"the Spark operator could not submit it: {short}",
        fix="the message names what spark-submit met; the operator's log has the rest",
    )


def not_starting(
    app: Mapping[str, Any], pod: Mapping[str, Any] | None, seconds: float, limits: Deadlines
) -> State | None:
    """What keeps a driver from starting, once it has waited `seconds`; None where it may still start."""
    if pod is None:
        return _no_pod(app, seconds) if seconds >= limits.submit else None
    status = pod.get("status", {})
    if seconds > limits.image and (found := _no_container(status)):
        return found
    if status.get("phase") == "Pending" and seconds > limits.start:
        return _pending(status, seconds)
    return None


def _no_pod(app: Mapping[str, Any], seconds: float) -> State:
    if not application_state(app):
        return State(
            lost=True,
            reason=f"the Spark operator did not take it up in {seconds:.0f} s",
            fix="is the operator running, and does it watch this namespace (spark.jobNamespaces of its chart)?",
        )
    return State(
        lost=True,
        reason=f"{seconds:.0f} s after submission it had no driver pod",
        fix="the application's events and the operator's log say what it waits for",
    )


def _no_container(status: Mapping[str, Any]) -> State | None:
    """What keeps one of the pod's containers from being made."""
    for container in [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason"), (waiting.get("message") or "")[:500]
        if reason in _NO_IMAGE:
            return State(
                lost=True,
                retry=False,
                reason=f"its image {container.get('image')} cannot be pulled ({reason}): {message}",
                fix="check SPARK_IMAGE (name, tag) and the image pull secret",
            )
        if reason in _NO_CONTAINER:
            return State(
                lost=True,
                retry=False,
                reason=f"its container cannot be created ({reason}): {message}",
                fix="a named secret or config map is missing from the namespace (S3_SECRET_NAME?), or the image "
                "cannot run here",
            )
    return None


def _pending(status: Mapping[str, Any], seconds: float) -> State:
    """A pod that has waited too long, for a node or on one."""
    placed = {c.get("status"): c for c in status.get("conditions", []) if c.get("type") == "PodScheduled"}
    if "True" in placed:
        return State(
            lost=True,
            reason=f"its driver's container did not start in {seconds:.0f} s, though a node took the pod",
            fix="a large image, or a volume, may take so long: see the pod's events, or raise start_seconds "
            "(ASGARD_LAUNCHER_OPTIONS)",
        )
    why = placed.get("False", {}).get("message") or "the pod is still pending"
    return State(
        lost=True,
        reason=f"no node took its driver in {seconds:.0f} s: {why}",
        fix="ask for less (driver.coreRequest, driver.memory), check node selectors and tolerations, or add nodes",
    )


def no_executors(pods: Sequence[Mapping[str, Any]], log: str, seconds: float) -> State:
    """The driver runs, but for `seconds` none of its executors does."""
    whys = [
        c.get("message", "")
        for pod in pods
        for c in pod.get("status", {}).get("conditions", [])
        if c.get("type") == "PodScheduled" and c.get("status") == "False"
    ]
    quota = re.search(r"exceeded quota[^\n]{0,300}", log)
    why = whys[0] if whys else quota.group(0) if quota else "the driver's log says why"
    return State(
        lost=True,
        reason=f"none of its executors started in {seconds:.0f} s: {why}",
        fix="ask for less (executor.instances, executor.memory, executor.coreRequest), or add nodes or quota",
    )


def _pod_state(pod: Mapping[str, Any], gone: bool) -> State | None:
    status = pod.get("status", {})
    if status.get("reason") == "Evicted":
        return State(
            lost=True,
            reason=f"its driver pod was evicted: {status.get('message', '')}",
            fix="the node ran short of memory or disk: ask for what the step needs (driver.memory, memoryOverhead)",
        )
    if pod["metadata"].get("deletionTimestamp") or (gone and status.get("phase") in ("Pending", "Running")):
        disrupted = next(
            (
                c.get("message", "")
                for c in status.get("conditions", [])
                if c.get("type") == "DisruptionTarget" and c.get("status") == "True"
            ),
            "",
        )
        return State(
            lost=True,
            reason="its driver pod was evicted: " + disrupted
            if disrupted
            else "its driver pod was deleted or evicted while the step ran",
            fix="a node was drained, or somebody deleted the pod; run the step again",
        )
    for container in status.get("containerStatuses", []):
        ended = container.get("state", {}).get("terminated")
        if not ended or container["name"] != DRIVER:
            continue
        if ended.get("reason") == "OOMKilled":
            limit = _limit(pod)
            return State(
                ended.get("exitCode", 137),
                lost=True,
                out_of_memory=True,
                reason=f"its driver pod ran out of memory (OOMKilled, limit {limit})",
                fix="raise driver.memoryOverhead (Python's memory) or driver.memory (the JVM's) in the tag asgard/spark",
            )
        if ended.get("reason") in ("ContainerCannotRun", "StartError"):
            return State(
                ended.get("exitCode", 128),
                lost=True,
                retry=False,
                reason=f"its container cannot run: {ended.get('message', '')[:500]}",
                fix="the image lacks Spark's entry point; use the image that `asgard image` builds",
            )
        return State(ended.get("exitCode"))
    return None


def _from_message(message: str) -> State:
    found = re.search(r"ExitCode: (\d+)", message)
    code = int(found.group(1)) if found else 1
    if code == 143 or found is None:  # gone before anybody here had seen it
        return State(
            code,
            lost=True,
            reason=f"its driver pod was deleted or evicted while the step ran: {message or 'no reason was kept'}",
            fix="a node was drained or lost, or somebody deleted the pod; run the step again",
        )
    return State(
        code, out_of_memory="OOMKilled" in message, reason=message, fix="the last log lines say more"
    )


def _refusal(message: str) -> str:
    """The part of spark-submit's output that says why, not its stack."""
    for pattern in (
        r"Message: ([^\n]{1,500}?)(?: Received status|\n|$)",
        r"(?m)^Exception in [^\n]{1,400}",
        r"[^\n]*forbidden[^\n]{0,300}",
    ):
        found = re.search(pattern, message)
        if found:
            return (found.group(1) if found.groups() else found.group(0)).strip()
    return message.strip()[-500:]


def _limit(pod: Mapping[str, Any]) -> str:
    for container in pod["spec"]["containers"]:
        if container["name"] == DRIVER:
            return container.get("resources", {}).get("limits", {}).get("memory", "none")
    return "unknown"
