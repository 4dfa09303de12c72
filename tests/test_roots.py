"""An address that the engines cannot all use is refused by its name, wherever it is given first."""

from __future__ import annotations

import os

import pytest

from asgard_assets.doctor import examine
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake
from asgard_assets.roots import checked_root
from asgard_assets.settings import Settings

STORES = {
    "gs://bucket/lake": "not yet in Google Cloud Storage",
    "GS://bucket/lake": "not yet in Google Cloud Storage",
    "az://container/lake": "not yet in Azure storage",
    "abfss://box@account.dfs.core.windows.net/lake": "not yet in Azure storage",
    "wasbs://box@account/lake": "not yet in Azure storage",
    "hdfs://namenode:8020/lake": "not yet in HDFS",
    "hdfs:///lake": "not yet in HDFS",
    "https://bucket.s3.amazonaws.com/lake": "not yet in https",
    "minio://bucket/lake": "not yet in minio",
}
MISSPELT = (
    "s3:/bucket/lake", "s3:bucket/lake", "s3//bucket/lake", "s3:///lake", "s3://", "s3:", "S3://bucket/lake",
    "s3a://bucket/lake", " s3://bucket/lake", '"s3://bucket/lake"', "/data/s3://bucket/lake", "file:///data/lake",
    "file:/data/lake", "s3://key:secret@bucket/lake",
)  # fmt: skip


@pytest.mark.parametrize(("root", "why"), STORES.items())
def test_a_lake_in_another_store_is_refused_by_its_name(root: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as told:
        Lake(root)
    assert "ASGARD_LAKE" in str(told.value) and "s3://bucket/prefix" in str(told.value)


@pytest.mark.parametrize("root", MISSPELT)
def test_a_misspelt_address_is_refused_and_not_taken_for_a_folder(root: str) -> None:
    for made in (Lake, Landing):
        with pytest.raises(ConfigError, match="s3://bucket/prefix") as told:
            made(root)
        assert "secret" not in str(told.value)


@pytest.mark.parametrize("name", ["ASGARD_LAKE", "ASGARD_LANDING"])
@pytest.mark.parametrize("root", ["gs://bucket/x", "s3:/bucket/x"])
def test_settings_and_the_doctor_name_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, root: str
) -> None:
    monkeypatch.setenv(name, root)
    with pytest.raises(ConfigError, match=name):
        Settings()
    finding = next(one for one in examine() if one.subject == "settings")
    assert not finding.ok and name in finding.cure


def test_a_dbt_profile_names_no_other_store_either() -> None:
    from dbt.adapters.delta.connections import DeltaCredentials

    with pytest.raises(ConfigError, match="Google Cloud Storage"):
        DeltaCredentials(database="x", schema="main", path=":memory:", lake="gs://bucket/lake").opened()


@pytest.mark.parametrize(
    "root", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b c/ü", "/data/a:b", "/data/gs/x"]
)
def test_what_can_be_used_is_taken(root: str) -> None:
    assert Lake(root).root == root
    assert checked_root(root, "ASGARD_LAKE") == root.rstrip("/")


def test_a_folder_is_made_absolute_and_the_home_folder_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_LAKE", "data/lake/")
    monkeypatch.setenv("ASGARD_LANDING", "~/landing")
    assert Settings().lake_root == os.path.abspath("data/lake")
    assert Settings().landing_root == os.path.expanduser("~/landing")
