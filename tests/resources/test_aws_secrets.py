"""Secrets in AWS Secrets Manager, read through dagster-aws from moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.source.secrets import aws_secrets, resolve
from asgard_assets.lake import Lake
from asgard_assets.resources.environment import resources
from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.production import SecretsResource, read_aws_secret
from tests.fakes.rest_api import TOKEN, serving
from tests.ingest.api.sources import USAGE, put_users, source
from tests.servers.sqs import moto

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as url:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("secretsmanager", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_secret(Name="shop/crm", SecretString=json.dumps({"token": TOKEN, "port": 7}))
        client.create_secret(Name="plain", SecretString="canary-plain")
        client.create_secret(Name="bytes", SecretBinary=b"canary")
        yield url


@pytest.fixture(autouse=True)
def keys(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_references_are_read_by_the_resource():
    with aws_secrets(SecretsResource().read):
        assert resolve("aws-secret:shop/crm#token", "crm").value == TOKEN
        assert resolve("aws-secret:shop/crm#port", "crm").value == "7"
        assert resolve("aws-secret:plain", "crm").value == "canary-plain"
    with aws_secrets(read_aws_secret):
        assert resolve("aws-secret:plain", "crm").value == "canary-plain"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("aws-secret:nobody", "there is none of this name"),
        ("aws-secret:shop/crm#tokn", "has no key 'tokn'"),
        ("aws-secret:plain#token", "must be a JSON object"),
        ("aws-secret:bytes", "is binary"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_shown(reference: str, says: str):
    with aws_secrets(SecretsResource().read), pytest.raises(ConfigError, match=says) as failed:
        resolve(reference, "crm")
    assert "canary" not in str(failed.value)


def test_a_service_that_does_not_answer_is_no_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="no answer"):
        SecretsResource().read("plain")


def test_an_api_asset_logs_in_with_a_secret_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The secret reaches the API, and neither the table nor the events."""
    lake = Lake(str(tmp_path / "lake"))
    put_users(lake, 3)
    auth = {"type": "bearer", "token": "aws-secret:shop/crm#token"}
    with serving() as server, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("TEST_API", server.url)
        asset = api_asset(ApiIngestModel(source=source(USAGE, auth=auth)))
        assert "secrets" in asset.required_resource_keys
        bound: dict[str, Any] = resources() | {"lake": LakeResource(root=lake.root)}
        done = dg.materialize([asset], resources=bound, instance=instance, partition_key="2026-10-05")
        assert done.success
        logged = "\n".join(str(event) for event in instance.all_logs(done.run_id))
    rows = lake.connect().execute("select success, bronze.usage::varchar from bronze.usage").fetchall()
    assert [row[0] for row in rows] == [True] * 3
    assert TOKEN not in logged and TOKEN not in str(rows)
