"""Installed components are described by code servers, whose answers the UI shows, and by no run, step or command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.checkout import ROOT

LOAD = """
import json, sys
import asgard_assets.definitions as project
described = project.defs().metadata.get("plugin_component_types_json")
types = [one["name"] for package in (described.value if described else []) for one in package["componentTypes"]]
print(json.dumps([types, "dagster_aws" in sys.modules]))
"""


@pytest.mark.parametrize(("arguments", "serves"), [(["api", "grpc"], True), (["api", "execute_run"], False)])
def test_only_a_code_server_describes_them(arguments: list[str], serves: bool):
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    types, all_imported = json.loads(done.stdout.splitlines()[-1])
    assert ("asgard_assets.components.files.FileIngest" in types) == serves
    assert all_imported == serves
