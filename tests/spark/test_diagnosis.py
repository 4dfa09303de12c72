"""What the operator's messages mean; the texts are those that a cluster gave."""

from __future__ import annotations

from typing import Any

import pytest

from asgard_assets.spark import diagnosis
from asgard_assets.spark.submit import advice

SUBMISSION = (
    "failed to submit spark application: failed to run spark-submit: failed to run spark-submit: WARNING: Using "
    'incubator modules: jdk.incubator.vector\nException in thread "main" '
    "io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: {} Received status: Status("
)
QUOTA = (
    'POST at: https://10.96.0.1:443/api/v1/namespaces/pipelines/pods. Message: pods "asgard-1-driver" is '
    "forbidden: exceeded quota: tight, requested: pods=1, used: pods=0, limited: pods=0."
)
POLICY = (
    "PATCH at: https://10.96.0.1:443/apis/networking.k8s.io/v1/namespaces/pipelines/networkpolicies/asgard-1-policy"
    '?fieldManager=fabric8&force=true. Message: networkpolicies.networking.k8s.io "asgard-1-policy" is forbidden: '
    'User "system:serviceaccount:spark-operator:spark-operator-controller" cannot patch resource '
    '"networkpolicies" in API group "networking.k8s.io" in the namespace "pipelines".'
)


def app(state: str, message: str = "") -> dict[str, Any]:
    return {"metadata": {}, "status": {"applicationState": {"state": state, "errorMessage": message}}}


@pytest.mark.parametrize(
    ("refusal", "reason", "retry"),
    [
        (QUOTA, 'the namespace\'s quota is exceeded: pods "asgard-1-driver" is forbidden', True),
        (POLICY, "may not make NetworkPolicies", False),
    ],
)
def test_a_submission_that_was_refused_is_told_in_one_sentence(
    refusal: str, reason: str, retry: bool
) -> None:
    found = diagnosis.state(app("FAILED", SUBMISSION.format(refusal)), None, pod_is_there=False)
    assert found is not None and found.lost and found.fix
    assert reason in found.reason
    assert found.retry is retry
    assert "\n" not in found.reason and "Received status" not in found.reason


def test_an_application_that_is_gone_is_not_an_error_of_the_step() -> None:
    for one in (None, {"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}}):
        found = diagnosis.state(one, None, pod_is_there=False)
        assert found is not None and found.lost and "was deleted" in found.reason


def test_an_application_that_is_being_removed_after_it_completed_has_completed() -> None:
    one = {**app("COMPLETED"), "metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}}
    pod = {"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}, "status": {"phase": "Succeeded"}}
    found = diagnosis.state(one, pod, pod_is_there=True)
    assert found is not None and found.exit_code == 0 and not found.lost


def test_a_completed_application_has_exit_code_zero_and_a_running_one_has_none() -> None:
    assert diagnosis.state(app("RUNNING"), None, pod_is_there=False) is None
    found = diagnosis.state(app("COMPLETED"), None, pod_is_there=False)
    assert found is not None and found.exit_code == 0 and not found.lost


def test_a_lost_executors_step_is_told_what_to_raise() -> None:
    told = advice("ExecutorLostFailure (executor 1 exited caused by ... exit code 137, OOMKilled)")
    assert told is not None and "executor.memoryOverhead" in told
