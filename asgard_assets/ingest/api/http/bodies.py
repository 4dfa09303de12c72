"""Huge bodies as files beside the table, named by their content: the same body is kept once, however often."""

from __future__ import annotations

import hashlib
import os

from asgard_assets.lake import Lake

FOLDER = "_bodies"  # hidden from whoever reads the table, and from its vacuum


def put(lake: Lake, stage: str, name: str, text: str) -> str:
    """Keep the body, and give back its path inside the table's folder."""
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    inside = f"{FOLDER}/{digest[:2]}/{digest}"
    target = f"{lake.path(stage, name)}/{inside}"
    if lake.remote or not os.path.exists(target):
        with lake.whole(target) as file:
            file.write(content)
    return inside


def get(lake: Lake, stage: str, name: str, inside: str) -> str:
    """The body that a row's `body_path` names."""
    target = f"{lake.path(stage, name)}/{inside}"
    with lake.filesystem.open_input_stream(target) as stream:
        return stream.read().decode()
