"""Who may do what in the chart: checked on what it renders, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.test_chart import EVERYTHING, GIVEN, runs_of, template
from tests.cluster.world import built


@pytest.fixture(autouse=True, scope="module")
def helm(request: pytest.FixtureRequest) -> None:
    if not Path(built(), "bin/helm").exists():
        request.getfixturevalue("world")


def objects(**values: str) -> list[dict[str, Any]]:
    rendered = template(**GIVEN | EVERYTHING | {"nodeSelector.disk": "fast"} | values)
    assert rendered.returncode == 0, rendered.stderr
    return [item for item in yaml.safe_load_all(rendered.stdout) if item]


def one(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in found if item["kind"] == kind and item["metadata"]["name"] == name)


@pytest.mark.parametrize(
    "tag",
    [
        {"pod_spec_config": {"host_network": True}},
        {"pod_spec_config": {"hostPID": True}},
        {"pod_spec_config": {"service_account_name": "spark-sa"}},
        {"pod_spec_config": {"node_selector": {"disk": "slow"}}},
        {"pod_spec_config": {"volumes": [{"name": "h", "host_path": {"path": "/"}}]}},
        {"container_config": {"image": "attacker/image:1"}},
        {"container_config": {"env_from": [{"secret_ref": {"name": "anything"}}]}},
        {"container_config": {"env": [{"name": "PATH", "value": "/x"}]}},
        {"container_config": {"security_context": {"privileged": True}}},
        {"container_config": {"command": ["sh"]}},
        {"job_spec_config": {"backoff_limit": 9}},
        {"pod_template_spec_metadata": {"labels": {"a": "b"}}},
    ],
    ids=json.dumps,
)
def test_a_run_s_tag_sets_nothing_but_sizes(tag) -> None:
    with pytest.raises(Exception, match="violated the allowed list"):
        runs_of(objects(), **tag)


def test_a_run_s_tag_sets_its_size_and_keeps_the_rest() -> None:
    asked = {"resources": {"limits": {"memory": "8Gi"}}}
    made = runs_of(objects(), container_config=asked).run_k8s_config
    assert made.container_config["resources"]["limits"] == {"memory": "8Gi"}
    assert made.container_config["security_context"] == {
        "allow_privilege_escalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    names = [each["secret_ref"]["name"] for each in made.container_config["env_from"] if "secret_ref" in each]
    assert names == ["s3-credentials", "asgard-postgres", "asgard-state", "spark-token", "crm-token"]
    pod = made.pod_spec_config
    assert pod["node_selector"] == {"disk": "fast"} and pod["service_account_name"] == "asgard"
    assert pod["image_pull_secrets"] == [{"name": "registry"}] and pod["security_context"]["run_as_non_root"]


def test_tokens_of_sources_are_where_they_are_used() -> None:
    found = objects()
    for name, expected in (("code", True), ("webserver", False), ("daemon", False)):
        (container,) = one(found, "Deployment", f"asgard-{name}")["spec"]["template"]["spec"]["containers"]
        assert ({"secretRef": {"name": "crm-token"}} in container["envFrom"]) == expected


def test_the_webserver_makes_nothing() -> None:
    found = objects()
    pod = one(found, "Deployment", "asgard-webserver")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "asgard-webserver"
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    bound = [
        item["roleRef"]["name"]
        for item in found
        if item["kind"] == "RoleBinding" and any(s["name"] == "asgard-webserver" for s in item["subjects"])
    ]
    assert bound == ["asgard-webserver"]
    verbs = {verb for rule in one(found, "Role", "asgard-webserver")["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "delete"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"ingress.tlsSecret": ""}, "ingress.tlsSecret: the UI is served over TLS only"),
        ({"ingress.login.url": ""}, "ingress.login.url: Dagster's UI has no login"),
    ],
)
def test_an_ingress_needs_tls_and_a_login(values, named) -> None:
    done = template(**GIVEN | EVERYTHING | values)
    assert done.returncode != 0 and named in done.stderr


def test_an_ingress_whose_login_is_elsewhere() -> None:
    found = one(objects(**{"ingress.login.url": "", "ingress.login.elsewhere": "true"}), "Ingress", "asgard")
    assert found["spec"]["tls"] == [{"hosts": ["asgard.example.com"], "secretName": "tls"}]
    assert not any("auth-url" in key for key in found["metadata"]["annotations"])


def test_the_node_s_metadata_is_closed_where_pods_have_keys() -> None:
    policy = one(objects(), "NetworkPolicy", "asgard-egress")
    assert policy["spec"]["egress"][0]["to"][0]["ipBlock"]["except"] == ["169.254.0.0/16"]
    names = {item["metadata"]["name"] for item in objects(**{"secrets.s3": ""})}
    assert "asgard-egress" not in names


def test_spark_may_have_a_namespace_of_its_own() -> None:
    found = objects(sparkNamespace="asgard-jobs", **{"sparkConnect.enabled": "false"})
    there = {
        f"{item['kind']}/{item['metadata']['name']}"
        for item in found
        if item["metadata"].get("namespace") == "asgard-jobs"
    }
    assert there == {
        "ServiceAccount/spark-sa", "Role/asgard-spark", "RoleBinding/asgard-spark", "Role/asgard-launcher",
        "RoleBinding/asgard-launcher", "Role/asgard-spark-networkpolicies", "RoleBinding/asgard-spark-networkpolicies",
        "ResourceQuota/asgard", "PodDisruptionBudget/asgard-drivers", "NetworkPolicy/asgard-default", "NetworkPolicy/asgard-egress",
    }  # fmt: skip
    told = one(found, "ConfigMap", "asgard-environment")["data"]
    assert (told["PIPELINE_NAMESPACE"], told["PLATFORM_NAMESPACE"]) == ("asgard-jobs", "asgard")
    launcher = next(
        item
        for item in found
        if item["kind"] == "RoleBinding" and item["metadata"]["name"] == "asgard-launcher"
    )
    assert launcher["subjects"] == [{"kind": "ServiceAccount", "name": "asgard", "namespace": "asgard"}]
    instance = yaml.safe_load(one(found, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    assert instance["run_launcher"]["config"]["job_namespace"] == "asgard"
    binding = one(found, "ValidatingAdmissionPolicyBinding", "asgard-asgard-pods")["spec"]
    (chosen,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert chosen["values"] == ["asgard", "asgard-jobs"]
    policy = one(found, "ValidatingAdmissionPolicy", "asgard-asgard-pods")["spec"]
    assert "system:serviceaccount:asgard-jobs:spark-sa" in policy["matchConditions"][0]["expression"]


@pytest.mark.parametrize("kind", ["pods", "jobs"])
def test_the_api_server_is_told_the_same(kind) -> None:
    found = objects(**{"admission.images[0]": "registry.example.com/other"})
    policy = one(found, "ValidatingAdmissionPolicy", f"asgard-asgard-{kind}")["spec"]
    said = " ".join(rule["expression"] for rule in policy["validations"])
    for word in (
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostPath",
        "privileged",
        "'registry.example.com/other'",
        "'asgard-postgres'",
    ):
        assert word in said
    assert policy["failurePolicy"] == "Fail"
    binding = one(found, "ValidatingAdmissionPolicyBinding", f"asgard-asgard-{kind}")["spec"]
    assert binding["validationActions"] == ["Deny"]
    assert "ValidatingAdmissionPolicy" not in {
        item["kind"] for item in objects(**{"admission.enabled": "false"})
    }
