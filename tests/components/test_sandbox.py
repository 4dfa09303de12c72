"""A YAML file and a dbt project run no code when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster.components.resolved.context import ResolutionContext
from dagster.components.resolved.errors import ResolutionException

from asgard_assets.components.authoring.sandbox import render_yaml_in_a_sandbox
from asgard_assets.components.dbt import manifest
from asgard_assets.errors import ConfigError

HOSTILE = [
    "{{ cycler.__init__.__globals__.os.system('touch OWNED') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].popen('touch OWNED').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ ('{0.__class__}').format('') }}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_template_in_yaml_reaches_no_python(tmp_path: Path, text):
    render_yaml_in_a_sandbox()
    made = tmp_path / "owned"
    try:
        told = ResolutionContext.default().resolve_value(text.replace("OWNED", str(made)))
    except ResolutionException as error:
        assert "unsafe" in str(error) or "undefined" in str(error)
    else:
        assert "class" not in str(told)
    assert not made.exists()


def test_values_keep_their_types():
    render_yaml_in_a_sandbox()
    context = ResolutionContext.default().with_scope(number=3, names=["a", "b"])
    assert context.resolve_value("{{ number + 1 }}") == 4
    assert context.resolve_value("{{ names }}") == ["a", "b"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["packages-install-path", "target-path", "model-paths"])
def test_a_dbt_project_s_settings_run_no_code(tmp_path: Path, setting):
    folder = tmp_path / "stranger"
    (folder / "models").mkdir(parents=True)
    made = tmp_path / "owned"
    text = HOSTILE[0].replace("OWNED", str(made))
    value = f'["{text}"]' if setting == "model-paths" else f'"{text}"'
    (folder / "dbt_project.yml").write_text(
        f"name: stranger\nversion: '1.0'\nprofile: stranger\n{setting}: {value}\n"
    )
    (folder / "profiles.yml").write_text(
        "stranger:\n  target: d\n  outputs:\n    d: {type: delta, schema: gold}\n"
    )
    with pytest.raises(ConfigError):
        manifest.manifest(folder, None, None, None)
    assert not made.exists()
