"""`asgard init` and `asgard setup`: a project of one's own, and what its runs need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asgard_assets.cli.terminal import console, echo


def init(
    name: Annotated[str, typer.Argument(help="Name of the project: its folder and its Python package.")],
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path("."),
) -> None:
    """Write a new project, with a small example of each stage: Bronze, Silver, Gold, features, model.

    Example: asgard init shop
    """
    from asgard_assets.operations.new.project import new_project

    made = new_project(name, folder)
    console.print(
        f"wrote {made}. Next:\n  cd {made}\n  make dev    opens the Dagster UI; make alone lists the commands"
    )


def setup() -> None:
    """Fetch what a run needs, unless it is there: the Spark jars, and dbt's manifest of the project.

    Example: asgard setup
    """
    from asgard_assets import project
    from asgard_assets.components.dbt.manifest import prepare
    from asgard_assets.spark.jars import fetch, installed

    if not installed():
        console.print("fetching the Spark jars, once for all projects")
        fetch()
    found = project.current()
    if (found.dbt / "dbt_project.yml").is_file():
        prepare(found.dbt)


def image(
    name: Annotated[
        str, typer.Option(help="Name and tag of the image; default: the project's, latest.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-o", help="OCI archive to write; default: NAME-spark.oci.tar.")
    ] = None,
    docker: Annotated[
        bool, typer.Option("--docker", help="Build with Docker, from deployments/Dockerfile: both images.")
    ] = False,
) -> None:
    """Build the project's Spark image for Kubernetes: an OCI archive without Docker, or with it (--docker).

    skopeo, ctr and podman load the archive. It holds the platform, the packages it needs and the project's files.

    Example: asgard image --name shop:1.2
    """
    import subprocess

    from asgard_assets import project
    from asgard_assets.errors import ConfigError
    from asgard_assets.operations.image import docker_builds, write_image

    found = project.current()
    if docker:
        for command in docker_builds(found, name):
            console.print(" ".join(command))
            try:
                subprocess.run(command, cwd=found.folder, check=True)
            except FileNotFoundError as error:
                raise ConfigError(
                    "docker is not installed; without --docker an OCI archive is written"
                ) from error
            except subprocess.CalledProcessError as error:
                raise ConfigError(f"docker ended with exit code {error.returncode}") from error
        return
    target = file or found.folder / f"{found.location}-spark.oci.tar"
    console.print(f"wrote {target} ({write_image(found, target, name)})")


def chart() -> None:
    """Print the folder of the Helm chart.

    Example: helm install shop "$(asgard chart)" -f deployments/values.yaml
    """
    from asgard_assets.project import shipped

    echo(str(shipped("helm/asgard")))


def spark_server() -> None:
    """Run a warm Spark for the steps of this project (ASGARD_LAUNCHER=connect), until it is stopped. `asgard dev` does too.

    Example: asgard spark-server
    """
    from asgard_assets.cli.spark.server import serve as run

    raise typer.Exit(run())


def register(app: typer.Typer, panel: str) -> None:
    """Add the commands to `asgard`."""
    for command in (init, setup, image, chart, spark_server):
        app.command(rich_help_panel=panel)(command)
