"""References to secrets in AWS Secrets Manager; with the real resource: tests/resources/test_aws_secrets.py."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.secrets import aws_secrets, resolve
from tests.ingest.api.sources import USAGE, source

KNOWN = {"crm": '{"token": "canary-1", "nested": {"a": 1}}', "plain": "canary-2"}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("aws-secret:plain", "canary-2"),
        ("aws-secret:crm#token", "canary-1"),
        ("aws-secret:crm#nested", '{"a": 1}'),
        ("aws-secret:crm", KNOWN["crm"]),
    ],
)
def test_a_secret_or_a_key_of_it_is_read(reference: str, value: str):
    with aws_secrets(KNOWN.__getitem__):
        assert resolve(reference, "usage").value == value


def test_outside_of_assets_and_commands_it_is_said_who_reads_it():
    with pytest.raises(ConfigError, match="usage: nothing reads aws-secret:crm here"):
        resolve("aws-secret:crm#token", "usage")


def test_only_sources_with_such_a_secret_need_the_resource():
    aws = source(USAGE, auth={"type": "bearer", "token": "aws-secret:crm#token"})
    proxy = {"proxy": {"url": "http://proxy:8080", "username": "a", "password": "aws-secret:plain"}}
    for one, needed in ((aws, True), (source(USAGE, transport=proxy), True), (source(USAGE), False)):
        asset = api_asset(ApiIngestModel(source=one))
        assert ("secrets" in asset.required_resource_keys) is needed


@pytest.mark.parametrize(
    "wrong", ["aws-secret:canary b", "aws-secret:canary#", "aws-secret:#canary", "aws:canary"]
)
def test_what_is_no_reference_is_refused_and_not_shown(wrong: str):
    with pytest.raises(ValidationError) as failed:
        source(USAGE, auth={"type": "bearer", "token": wrong})
    assert "canary" not in str(failed.value)
