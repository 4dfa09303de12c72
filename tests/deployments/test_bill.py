"""The bill of materials names every library that a lock file names."""

from __future__ import annotations

import json
import re

import pytest

from deployments.bill import document, licence, licences, parts
from tests.checkout import ROOT


@pytest.fixture(scope="module")
def made():
    return document()


def test_it_is_cyclonedx_and_holds_each_part_once(made):
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    refs = [one["bom-ref"] for one in made["components"]]
    assert len(refs) == len(set(refs)) == len(parts())
    assert all(re.fullmatch(r"pkg:(pypi|maven|golang)/\S+@\S+", ref) for ref in refs)
    json.dumps(made)


def test_every_locked_package_is_in_it_with_its_hashes(made):
    locked = re.findall(
        r"^([a-z0-9._-]+)(?:\[.*?\])?==([^\s\\;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    by = {one["purl"]: one for one in made["components"]}
    for name, version in locked:
        one = by[f"pkg:pypi/{re.sub('[-_.]+', '-', name)}@{version}"]
        assert one["hashes"] and all(each["alg"] == "SHA-256" for each in one["hashes"])


def test_jars_and_modules_are_in_it(made):
    refs = "\n".join(one["bom-ref"] for one in made["components"])
    assert "pkg:maven/io.delta/" in refs and "pkg:golang/" in refs
    jars = [one for one in made["components"] if one["purl"].startswith("pkg:maven/")]
    assert all(one.get("hashes") for one in jars)


def test_licences_are_what_packages_say():
    assert licence("duckdb") == "MIT License" or "MIT" in licence("duckdb")
    assert licence("no-such-package") == "not installed here"
    assert sum(map(len, licences().values())) == sum(p.purl.startswith("pkg:pypi/") for p in parts())
