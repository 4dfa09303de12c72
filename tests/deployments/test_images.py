"""The Spark image's packages are those of the lock file, and all that engines need."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys

from asgard_assets.settings import ROOT

IMAGES = ROOT / "deployments" / "images"


def pins(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ \\;]+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_images_packages_are_pinned_as_the_platforms_are() -> None:
    whole, part = pins((ROOT / "requirements.lock").read_text()), pins((IMAGES / "spark.lock").read_text())
    assert part
    for name, versions in part.items():
        assert versions <= whole[name], name
    assert not {"feast", "mlflow", "scikit-learn", "matplotlib"} & set(part)


def test_what_engines_import_is_in_the_image() -> None:
    """Workers import inside functions, so that loading the code location alone would not show a gap."""
    part = pins((IMAGES / "spark.lock").read_text())
    packages = importlib.metadata.packages_distributions()
    wanted = set()
    for folder in ("ingest", "transforms", "spark", "quality", "resources"):
        for file in (ROOT / "asgard_assets" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                wanted |= {(name.split(".")[0], file.name) for name in names}
    known_elsewhere = {"feast", "mlflow"}  # the host's steps, which need no Spark
    missing = [
        (name, file)
        for name, file in sorted(wanted)
        if name not in sys.stdlib_module_names | known_elsewhere | {"asgard_assets"}
        and not {d.lower().replace("_", "-") for d in packages.get(name, [name])} & set(part)
    ]
    assert not missing


def test_dockerfile_pins_its_base_and_runs_as_nobody_special() -> None:
    text = (IMAGES / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    outside = [base for base in bases if base not in ("base", "build")]
    assert outside and all(re.search(r":\d+\.\d+", base) for base in outside)
    for target in ("spark", "platform"):
        stage = text.split(f"AS {target}\n")[1].split("\nFROM ")[0]
        assert re.findall(r"^USER (\d+)", stage, re.MULTILINE)[-1] != "0"
    assert "--require-hashes" in text
