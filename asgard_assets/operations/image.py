"""The images of a project: a Spark image without Docker, or what Docker is to build."""

from __future__ import annotations

from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.images.layers import spark_image
from asgard_assets.images.oci import write_archive
from asgard_assets.project import PACKAGE, Project


def write_image(project: Project, target: Path, name: str = "") -> str:
    """Write the project's Spark image as an OCI archive; returns its name."""
    reference = name or f"localhost/{project.location}-spark:latest"
    if ":" not in reference.rsplit("/", 1)[-1]:
        reference += ":latest"
    config, layers = spark_image(project)
    write_archive(target, reference, config, layers)
    return reference


def docker_builds(project: Project, name: str = "") -> list[list[str]]:
    """The two commands that build the project's images with Docker. Raises ConfigError where it has no Dockerfile."""
    own = project.folder / "deployments" / "Dockerfile"
    # This repository builds from the lock file, which a project of its own does not have.
    file = project.folder / "deployments/images/Dockerfile" if project.folder == PACKAGE.parent else own
    if not file.is_file():
        raise ConfigError(f"{file} is missing: write one, or build without --docker")
    image, _, tag = (name or project.location).partition(":")
    return [
        ["docker", "build", "-f", str(file.relative_to(project.folder)), "--target", target,
         "-t", f"{image}{suffix}:{tag or 'latest'}", "."]
        for target, suffix in (("platform", ""), ("spark", "-spark"))
    ]  # fmt: skip
