"""The calendar: production names its first day and has no end; only the demo ends."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from pydantic import ValidationError

from asgard_assets.components.partitions import daily, weekly
from asgard_assets.demo import use_demo_calendar
from asgard_assets.errors import ConfigError
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from tests.checkout import ROOT

NAMES = ("ASGARD_PARTITION_START", "ASGARD_PARTITION_END")


@pytest.fixture
def no_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the test sets
        monkeypatch.delenv(name)


@pytest.fixture
def production(no_calendar: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_ENV", "production")


@pytest.mark.parametrize("calendar", [daily, weekly])
@pytest.mark.parametrize("start", [None, ""])
def test_production_asks_for_the_first_day(production: None, monkeypatch, calendar, start):
    if start is not None:
        monkeypatch.setenv("ASGARD_PARTITION_START", start)
    with pytest.raises(ConfigError, match="ASGARD_PARTITION_START"):
        calendar()


@pytest.mark.parametrize("env", ["local", "production"])
def test_a_calendar_without_an_end_goes_on(no_calendar: None, monkeypatch, env):
    monkeypatch.setenv("ASGARD_ENV", env)
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-10-05")
    assert Settings().partition_end is None
    with partition_loading_context(effective_dt=datetime(2027, 6, 2, tzinfo=UTC)):
        assert (daily().get_first_partition_key(), daily().get_last_partition_key()) == (
            "2026-10-05",
            "2027-06-02",  # the day that is still open
        )
        assert weekly().get_last_partition_key() == "2027-05-24"


def test_a_local_run_needs_no_first_day(no_calendar: None):
    assert Settings().first_day == date(2026, 10, 5)
    assert Settings().partition_end is None


def test_a_calendar_that_ends_before_it_begins_is_refused(no_calendar: None, monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-12-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-12-01")
    with pytest.raises(ValidationError, match="ends before it begins"):
        Settings()


def test_the_demo_has_its_28_days_and_gives_them_to_what_it_starts(no_calendar: None):
    use_demo_calendar()
    assert len(daily().get_partition_keys()) == 28
    asked = "from asgard_assets.components.partitions import daily; print(len(daily().get_partition_keys()))"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "28"


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_leaves_a_calendar_that_the_user_has_set(no_calendar: None, monkeypatch, name):
    monkeypatch.setenv(name, "2027-01-04")
    use_demo_calendar()
    assert [os.environ.get(each) for each in NAMES if each != name] == [None]


LOGINS = {
    "ASGARD_ALERT_WEBHOOK": "https://hooks.example/services/hidden-1",
    "ASGARD_ALERT_WEBHOOKS": '{"team:billing": "https://hooks.example/hidden-1"}',
    "ASGARD_MLFLOW_URI": "https://u:hidden-1@mlflow.example",
    "ASGARD_DATABASE_URL": "postgresql://u:hidden-1@h/db",
    "ASGARD_AIRBYTE_URL": "http://u:hidden-1@127.0.0.1:8001",
    "ASGARD_KAFKA_OPTIONS": '{"sasl.password": "hidden-1"}',
    "ASGARD_S3_ENDPOINT": "https://u:hidden-1@s3.example",
}


@pytest.mark.parametrize("name", LOGINS)
def test_what_may_carry_a_login_is_not_shown(settings: Settings, monkeypatch, name):
    monkeypatch.setenv(name, LOGINS[name])
    found = Settings()
    assert "hidden-1" in str(found.model_dump())
    assert "hidden-1" not in f"{found} {found!r}"


def test_the_resources_that_the_ui_shows_carry_no_login(settings: Settings, monkeypatch):
    monkeypatch.setenv("ASGARD_MLFLOW_URI", LOGINS["ASGARD_MLFLOW_URI"])
    found = resources()["mlflow"]
    assert "hidden-1" not in str(found.model_dump()) + repr(found)
    assert found.registry("churn").uri == LOGINS["ASGARD_MLFLOW_URI"]


@pytest.mark.parametrize("value", ['{"a": ["hidden-1"]}', '{"a": "hidden-1"', '["hidden-1"]', "hidden-1"])
@pytest.mark.parametrize("name", ["ASGARD_ALERT_WEBHOOKS", "ASGARD_KAFKA_OPTIONS", "ASGARD_SPARK_CORES"])
def test_an_error_of_the_settings_shows_no_value(settings: Settings, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.lower().removeprefix("asgard_")) as told:
        Settings()
    assert "hidden-1" not in str(told.value)


def test_settings_follow_the_environment_and_the_env_file(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n'
    )
    monkeypatch.setenv("ASGARD_PROJECT", str(tmp_path))
    monkeypatch.delenv("ASGARD_LOOKBACK_DAYS", raising=False)
    assert Settings() == Settings()
    assert Settings().lookback_days == 60
    (tmp_path / ".env").write_text("ASGARD_LOOKBACK_DAYS=7\n")
    assert Settings().lookback_days == 7
    monkeypatch.setenv("ASGARD_LOOKBACK_DAYS", "8")
    assert Settings().lookback_days == 8
    assert Settings(lookback_days=9).lookback_days == 9
    assert Settings().lookback_days == 8
