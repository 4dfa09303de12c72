"""A project is found from where one stands, and names its parts; a new one has a name of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from asgard_assets import project
from asgard_assets.cli.main import app
from asgard_assets.errors import ConfigError
from asgard_assets.images.layers import code_files
from asgard_assets.ingest.files.landing.area import missing
from asgard_assets.operations.image import docker_builds
from asgard_assets.operations.new.project import new_project
from asgard_assets.reference import env_example
from asgard_assets.resources.cluster import Cluster
from asgard_assets.settings import Settings
from tests.checkout import ROOT


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(project.VARIABLE, raising=False)
    return new_project("sales", tmp_path)


def test_a_new_project_has_the_macros_of_the_demo():
    macros = [
        ROOT / place / "macros" / "window.sql" for place in ("dbt_project", "deployments/project/dbt_project")
    ]
    assert len({path.read_text() for path in macros}) == 1, "change both"


def test_a_project_is_found_from_any_folder_below_it(sales: Path, monkeypatch):
    monkeypatch.chdir(sales / "sales" / "defs" / "silver")
    found = project.current()
    assert (found.folder, found.package, found.module) == (sales, "sales", "sales.definitions")
    assert found.defs == sales / "sales" / "defs"


def test_the_variable_comes_before_the_current_folder(sales: Path, monkeypatch, tmp_path):
    other = new_project("other", tmp_path)
    monkeypatch.chdir(sales)
    monkeypatch.setenv(project.VARIABLE, str(other))
    assert project.current().package == "other"


def test_a_variable_that_names_no_project_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(project.VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match="ASGARD_PROJECT"):
        project.find()


def test_without_a_project_a_command_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.delenv(project.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert project.find() is None
    with pytest.raises(ConfigError, match="asgard init"):
        project.current()


def test_a_pyproject_of_somebody_else_is_passed_over(sales: Path, monkeypatch):
    inner = sales / "library"
    inner.mkdir()
    (inner / "pyproject.toml").write_text('[project]\nname = "library"\n')
    monkeypatch.chdir(inner)
    assert project.current().folder == sales


def test_settings_come_from_the_projects_env_file_and_relative_folders_lie_in_it(sales: Path, monkeypatch):
    for name in ("ASGARD_HOME", "ASGARD_PARTITION_START", "ASGARD_PARTITION_END"):
        monkeypatch.delenv(name, raising=False)
    (sales / ".env").write_text((sales / ".env.example").read_text())
    monkeypatch.chdir(sales / "dbt_project")
    settings = Settings()
    assert settings.first_day.isoformat() == "2026-01-05"
    assert settings.landing_root == str(sales / "landing")
    assert settings.home == sales / ".asgard"


def test_the_env_file_is_read_into_the_environment_behind_what_is_set(sales: Path, monkeypatch):
    monkeypatch.setenv("CRM_TOKEN", "from outside")
    monkeypatch.setenv("ONLY_IN_FILE", "")
    monkeypatch.delenv("ONLY_IN_FILE")
    (sales / ".env").write_text("CRM_TOKEN=from the file\nONLY_IN_FILE=yes\n")
    monkeypatch.chdir(sales)
    project.read_env()
    assert (os.environ["CRM_TOKEN"], os.environ["ONLY_IN_FILE"]) == ("from outside", "yes")


def test_a_missing_landing_folder_says_that_the_env_file_is_missing(sales: Path, monkeypatch):
    monkeypatch.chdir(sales)
    assert "cp .env.example .env" in str(missing("landing", "orders"))
    (sales / ".env").write_text((sales / ".env.example").read_text())
    assert ".env" not in str(missing("landing", "orders"))


@pytest.mark.parametrize("name", ["Shop", "my shop", "1st", "class", "json", "dbt", "../shop"])
def test_a_name_that_cannot_be_a_package_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="asgard init|another"):
        new_project(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_not_written_into(tmp_path: Path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "notes").touch()
    with pytest.raises(ConfigError, match="not empty"):
        new_project("shop", tmp_path)


def test_a_new_project_has_its_own_name_everywhere(sales: Path):
    texts = {path: path.read_text() for path in sales.rglob("*") if path.is_file()}
    assert len(texts) > 25
    assert [path for path, text in texts.items() if "shop" in text or "shop" in path.name] == []
    assert "ASGARD_VERSION" not in "".join(texts.values())


@pytest.mark.parametrize("file", [".env.example", "deployments/project/.env.example"])
def test_the_example_of_an_env_file_names_every_setting(file: str):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text == env_example(dotenv_values(ROOT / file)), "run: asgard reference"
    names = {f"ASGARD_{name.upper()}" for name in Settings.model_fields}
    names |= {str(field.alias) for field in Cluster.model_fields.values()}
    assert {name for name in names if f"{name}=" not in text} == set()


def test_an_example_of_a_setting_is_read_as_its_default(monkeypatch: pytest.MonkeyPatch):
    given = re.findall(r"^# (ASGARD_[A-Z0-9_]+)=(.+)$", env_example({}), re.MULTILINE)
    known = {f"ASGARD_{name.upper()}": name for name in Settings.model_fields}
    for variable in known:
        monkeypatch.delenv(variable, raising=False)
    plain = Settings(_env_file=None)  # type: ignore[call-arg]
    for variable, text in given:
        if variable in known:
            monkeypatch.setenv(variable, text)
    read = Settings(_env_file=None)  # type: ignore[call-arg]
    assert read.gateway_masked_columns == ("email", "phone", "iban")
    assert {name for name in Settings.model_fields if getattr(read, name) != getattr(plain, name)} <= {
        "cache"
    }


@pytest.mark.parametrize(
    "file",
    ["sales/defs/silver/orders.py", "sales/defs/bronze/orders/defs.yaml", "dbt_project/models/gold/product_sales.sql",
     "dbt_project/macros/window.sql", "feature_repo/definitions.py", "pyproject.toml"],
)  # fmt: skip
def test_a_changed_file_of_the_project_is_another_code(sales: Path, file: str):
    """A driver with other files than its host refuses the step."""
    before = project.code_digest(project.find(sales))
    (sales / "dbt_project" / "target").mkdir()
    (sales / "dbt_project" / "target" / "manifest.json").write_text("{}")
    (sales / ".env").write_text("ASGARD_HOME=elsewhere")
    assert project.code_digest(project.find(sales)) == before
    with (sales / file).open("a") as out:
        out.write("\n")
    assert project.code_digest(project.find(sales)) != before


def test_a_project_adds_commands_of_its_own(sales: Path, monkeypatch):
    (sales / "sales" / "commands.py").write_text("def hello() -> None:\n    print('hello')\n")
    with (sales / "pyproject.toml").open("a") as file:
        file.write('\n[tool.asgard.commands]\nhello = "sales.commands:hello"\n')
    monkeypatch.chdir(sales)
    monkeypatch.syspath_prepend(str(sales))
    assert list(project.current().commands()) == ["hello"]
    with (sales / "pyproject.toml").open("a") as file:
        file.write('broken = "sales.commands:nothing"\n')
    with pytest.raises(ConfigError, match="sales.commands:nothing"):
        project.current().commands()


def test_the_demo_is_a_command_of_this_repository():
    import typer

    assert "demo" in getattr(typer.main.get_command(app), "commands")  # noqa: B009


def test_the_image_of_a_project_holds_the_platform_and_the_project_and_no_settings_of_this_machine(
    sales: Path,
):
    (sales / ".env").write_text("CRM_TOKEN=secret")
    (sales / "dbt_project" / "target").mkdir()
    (sales / "dbt_project" / "target" / "manifest.json").write_text("{}")
    found = project.find(sales)
    assert found is not None
    files = code_files(found)
    assert {
        "asgard_assets/project.py", "dbt/adapters/delta/impl.py", "sales/defs/silver/orders.py", "pyproject.toml",
        "dbt_project/models/gold/product_sales.sql", "dbt_project/target/manifest.json", "feature_repo/feature_store.yaml",
        "deployments/local/dagster.yaml",
    } <= files.keys()  # fmt: skip
    assert [name for name in files if name.startswith((".", "landing/", "tests/"))] == []


def test_docker_builds_both_images_from_the_projects_own_file(sales: Path):
    found = project.find(sales)
    assert found is not None
    commands = docker_builds(found, "registry/sales:1.0")
    assert [command[-2] for command in commands] == ["registry/sales:1.0", "registry/sales-spark:1.0"]
    text = (sales / commands[0][3]).read_text()
    assert {command[5] for command in commands} <= set(re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE))
    (sales / commands[0][3]).unlink()
    with pytest.raises(ConfigError, match="without --docker"):
        docker_builds(found)
