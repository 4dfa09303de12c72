"""Secrets in a Vault: read by reference, renewed while they are used, given back at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest import vault as module
from asgard_assets.ingest.api.access.auth import credentials
from asgard_assets.ingest.api.models import ApiSource
from asgard_assets.ingest.vault import VaultStore
from tests.fakes.vault import Vault, vault


@pytest.fixture
def server() -> Iterator[Vault]:
    with vault() as found:
        found.kept["secret/data/shop"] = {"token": "canary-token-1", "other": "x"}
        yield found


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def store(server: Vault, clock: Clock | None = None, **more: str) -> VaultStore:
    told = more or {"VAULT_TOKEN": "root"}
    return VaultStore({"VAULT_ADDR": server.url, **told}, clock or Clock())


def test_a_source_logs_in_with_a_secret_of_vault(server: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", server.url)
    monkeypatch.setenv("VAULT_TOKEN", "root")
    source = ApiSource.model_validate(
        {
            "name": "orders", "form": {"type": "pull", "pagination": {"type": "none"}}, "kind": "snapshot",
            "endpoint": {"base_url": "https://api.example.com", "path": "/orders"},
            "auth": {"type": "bearer", "token": "vault:secret/data/shop#token"}, "sink": {"table": "bronze/orders"}, "quality": {"description": "d"},
        }
    )  # fmt: skip
    assert credentials(source).secret.value == "Bearer canary-token-1"


def test_a_secret_that_is_changed_is_read_anew(server: Vault) -> None:
    read = store(server)
    assert read.read("secret/data/shop#token", "s") == "canary-token-1"
    server.kept["secret/data/shop"]["token"] = "canary-token-2"
    assert read.read("secret/data/shop#token", "s") == "canary-token-2"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("secret/data/shop", "names no key; write vault:secret/data/shop#KEY"),
        ("secret/data/shop#nothing", "has no key 'nothing'; it has other, token"),
        ("secret/shop#token", "MOUNT/data/PATH"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_there_is(server: Vault, reference: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        store(server).read(reference, "orders")
    assert told in str(error.value) and "canary" not in str(error.value)


def test_what_is_missing_or_refused_is_told_and_what_is_away_may_come_back(server: Vault) -> None:
    with pytest.raises(ConfigError, match="VAULT_ADDR does not say"):
        VaultStore({}).read("secret/data/shop#token", "s")
    with pytest.raises(ConfigError, match="set VAULT_TOKEN, VAULT_ROLE_ID"):
        VaultStore({"VAULT_ADDR": server.url}).read("secret/data/shop#token", "s")
    with pytest.raises(ConfigError, match="look at the policies"):
        store(server, VAULT_TOKEN="other").read("secret/data/shop#token", "s")
    with pytest.raises(ConfigError, match="does not take the login"):
        store(server, VAULT_ROLE_ID="r", VAULT_SECRET_ID="wrong").read("secret/data/shop#token", "s")
    read, server.sealed = store(server), True
    with pytest.raises(SourceError, match="gives no answer"):
        read.read("secret/data/shop#token", "s")
    server.sealed = False
    assert read.read("secret/data/shop#token", "s") == "canary-token-1"


@pytest.mark.parametrize("way", ["approle", "kubernetes"])
def test_a_login_is_renewed_and_given_back(
    server: Vault, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("pod\n")
    monkeypatch.setattr(module, "ACCOUNT", tmp_path / "token")
    clock = Clock()
    told = {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"} if way == "approle" else {"VAULT_ROLE": "asgard"}
    read = store(server, clock, **told)
    for clock.now in (0.0, 30.0, 45.0, 50.0, 90.0):
        assert read.read("secret/data/shop#token", "s") == "canary-token-1"
    assert server.renewals == 2 and len(server.tokens) == 2
    clock.now = 1000.0
    del server.tokens[next(token for token in server.tokens if token != "root")]
    assert read.read("secret/data/shop#token", "s") == "canary-token-1", "it logs in anew"
    read.close()
    assert set(server.tokens) == {"root"}


def test_a_login_that_vault_makes_lasts_as_long_as_it_is_used(server: Vault) -> None:
    clock = Clock()
    read = store(server, clock)
    made = read.read("database/creds/reader#password", "s")
    for clock.now in (10.0, 45.0, 50.0, 89.0):
        assert read.read("database/creds/reader#password", "s") == made
    assert server.renewals == 2 and len(server.leases) == 1
    server.leases.clear()
    clock.now = 200.0
    assert read.read("database/creds/reader#password", "s") != made, "one that ended is made anew"
    read.close()
    assert not server.leases and "root" in server.tokens
