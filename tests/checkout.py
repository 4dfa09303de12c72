"""The checkout that the tests are of, and where a session keeps the names of all that pytest found in it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLLECTED = pytest.StashKey[list[str]]()
