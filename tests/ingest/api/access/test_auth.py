import base64

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.access.auth import authorize, credentials
from asgard_assets.ingest.api.http.messages import Request
from asgard_assets.ingest.api.source.secrets import Redactor, withheld
from tests.ingest.api.sources import USAGE, source

REQUEST = Request("id", "GET", "http://api/x?a=1")


def known(auth):
    return credentials(source(USAGE, auth=auth))


def test_a_bearer_token_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "t0ken-value")
    sent = authorize(REQUEST, known({"type": "bearer", "token": "env:TEST_TOKEN"}))
    assert sent.headers["Authorization"] == "Bearer t0ken-value"
    assert "Authorization" not in REQUEST.headers


def test_basic_auth_reads_a_mounted_file(tmp_path):
    (tmp_path / "password").write_text("s3cret-word\n")
    auth = {"type": "basic", "username": "ann", "password": f"file:{tmp_path}/password"}
    sent = authorize(REQUEST, known(auth))
    assert base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")) == b"ann:s3cret-word"


def test_an_api_key_goes_where_the_source_says(monkeypatch):
    monkeypatch.setenv("KEY", "k&y-value")
    in_header = known({"type": "api_key", "key": "env:KEY", "name": "X-Key"})
    in_query = known({"type": "api_key", "key": "env:KEY", "place": "query", "name": "key"})
    assert authorize(REQUEST, in_header).headers == {"X-Key": "k&y-value"}
    assert authorize(REQUEST, in_query).url == "http://api/x?a=1&key=k%26y-value"


def test_a_secret_does_not_print_and_is_taken_out_of_texts(monkeypatch):
    monkeypatch.setenv("KEY", "canary/value")
    found = known({"type": "api_key", "key": "env:KEY"})
    assert "canary" not in repr(found)
    redactor = Redactor(secret.value for secret in found.hidden)
    assert redactor.text("a canary/value b canary%2Fvalue") == "a *** b ***"


def test_a_missing_secret_is_named(monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match="usage: the environment variable NOT_SET is not set"):
        known({"type": "bearer", "token": "env:NOT_SET"})
    with pytest.raises(ConfigError, match="usage: the secret file /no/such/file cannot be read"):
        known({"type": "bearer", "token": "file:/no/such/file"})


def test_a_setting_stands_in_for_its_variable(monkeypatch):
    monkeypatch.delenv("ASGARD_S3_REGION", raising=False)
    sent = authorize(REQUEST, known({"type": "bearer", "token": "env:ASGARD_S3_REGION"}))
    assert sent.headers["Authorization"] == "Bearer us-east-1"


def test_a_worker_sees_no_variable_that_could_be_a_secret():
    names = [
        "PATH",
        "HOME",
        "LC_ALL",
        "JAVA_HOME",
        "SPARK_LOCAL_DIRS",
        "AWS_SECRET_ACCESS_KEY",
        "ASGARD_HOME",
    ]
    others = ["CRM_SECRET", "CLIENT", "GITHUB_TOKEN", "SIGNING_KEY", "PGPASSWORD", "path_of_secret"]
    assert withheld([*names, *others], ["SIGNING_KEY"]) == dict.fromkeys(
        (name for name in others if name != "SIGNING_KEY"), ""
    )
