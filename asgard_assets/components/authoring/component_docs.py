"""Which processes describe every installed component: those whose answers the UI shows."""

from __future__ import annotations

import sys

import dagster as dg

_SERVING = {"grpc", "code-server", "dev"}


def describe_components_where_they_are_shown(arguments: list[str] | None = None) -> None:
    """From now on, in this process, Dagster describes installed components only if it is a code server.

    Dagster describes them in each process that loads a project: runs, steps and commands too. That imports the
    packages of all components and costs a third of the load's CPU. Only a code server passes them on, to the UI.
    `arguments` are those of the process.
    """
    if _SERVING & set(sys.argv if arguments is None else arguments):
        return
    from dagster.components.core import load_defs

    load_defs.get_library_json_enriched_defs = lambda tree: dg.Definitions(component_tree=tree)
