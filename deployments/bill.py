"""What the platform is made of, from the lock files: a CycloneDX document, and the licences.

python -m deployments.bill > bill.json
python -m deployments.bill --licences
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ET  # our own files
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".venv", ".git", "node_modules", "tests"}  # what tests alone need is not delivered
UNKNOWN = "not installed here"


@dataclass(frozen=True)
class Part:
    """A library of one version. `purl`: its address in its registry; `hashes`: SHA-256 of its files."""

    name: str
    version: str
    purl: str
    hashes: tuple[str, ...] = ()


def parts(root: Path = ROOT) -> list[Part]:
    """Every library that a lock file names, each once."""
    found: dict[str, Part] = {}
    for part in (*_python(root), *_java(root), *_go(root)):
        found.setdefault(part.purl, part)
    return sorted(found.values(), key=lambda part: part.purl)


def document(root: Path = ROOT) -> dict[str, Any]:
    """The parts as CycloneDX 1.6, with the licences of what is installed here."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "asgard-assets"}},
        "components": [_component(part) for part in parts(root)],
    }


def licences(root: Path = ROOT) -> dict[str, list[str]]:
    """Names of Python packages by licence."""
    by: dict[str, list[str]] = defaultdict(list)
    for part in parts(root):
        if part.purl.startswith("pkg:pypi/"):
            by[licence(part.name)].append(f"{part.name} {part.version}")
    return dict(sorted(by.items()))


def licence(name: str) -> str:
    """What an installed package says of its licence."""
    try:
        told: Any = metadata(name)
    except PackageNotFoundError:
        return UNKNOWN
    if said := told.get("License-Expression"):
        return said
    classes = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if c.startswith("License ::")]
    return ", ".join(classes) or (told.get("License") or "not said").partition("\n")[0][:80]


def _component(part: Part) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library", "name": part.name, "version": part.version, "purl": part.purl, "bom-ref": part.purl,
    }  # fmt: skip
    if part.hashes:
        made["hashes"] = [{"alg": "SHA-256", "content": each} for each in part.hashes]
    if part.purl.startswith("pkg:pypi/") and (said := licence(part.name)) != UNKNOWN:
        made["licenses"] = [{"license": {"name": said}}]
    return made


def _files(root: Path, name: str) -> Iterator[Path]:
    for path in sorted(root.rglob(name)):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            yield path


def _python(root: Path) -> Iterator[Part]:
    for file in _files(root, "*.lock"):
        for block in re.split(r"\n(?=[A-Za-z0-9])", file.read_text()):
            if named := re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s\\;]+)", block):
                name, version = re.sub(r"[-_.]+", "-", named.group(1)).lower(), named.group(2)
                hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
                yield Part(name, version, f"pkg:pypi/{name}@{version}", hashes)


def _java(root: Path) -> Iterator[Part]:
    for file in _files(root, "ivy.xml"):
        sums = file.with_name("SHA256SUMS").read_text().split()
        known = dict(zip(sums[1::2], sums[::2], strict=True))
        for one in ET.parse(file).iter("dependency"):  # noqa: S314
            group, name, version = one.attrib["org"], one.attrib["name"], one.attrib["rev"]
            digest = known.get(f"{name}-{version}.jar")
            yield Part(name, version, f"pkg:maven/{group}/{name}@{version}", (digest,) if digest else ())


def _go(root: Path) -> Iterator[Part]:
    for file in _files(root, "go.sum"):
        for line in file.read_text().splitlines():
            name, version, _ = line.split()
            if not version.endswith("/go.mod"):
                yield Part(name, version, f"pkg:golang/{name}@{version}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--licences", action="store_true", help="packages by licence instead")
    if parser.parse_args().licences:
        for name, packages in licences().items():
            sys.stdout.write(f"{name}: {', '.join(packages)}\n")
        return
    json.dump(document(), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
