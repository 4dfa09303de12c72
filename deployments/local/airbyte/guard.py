"""Runs the low-code connector so that its manifest runs no code: `python guard.py COMMAND [ARGUMENT …]`.

The Python is the connector's own. A manifest may name any function as a class, load a schema from any module and
write downloads to any path; references, parameters and answers of a server can make up such names only while it
runs, so it is here that they are refused. If airbyte-cdk no longer has the doors that are closed here, nothing runs.
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from airbyte_cdk.sources.declarative.parsers import (  # pyright: ignore[reportMissingImports]
    model_to_component_factory as factory,
)
from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader  # pyright: ignore[reportMissingImports]
from airbyte_cdk.utils import AirbyteTracedException  # pyright: ignore[reportMissingImports]

COMPONENTS = frozenset(Path(__file__).with_name("components.txt").read_text().split())


def close(owner: type, name: str, wrap: Callable[[Any], Any]) -> None:
    """Put `wrap` of a method in its place. Raises AttributeError if there is no such method."""
    setattr(owner, name, wrap(getattr(owner, name)))


def refuse(reason: str) -> NoReturn:
    raise AirbyteTracedException(message=reason, internal_message=reason)


def only_components(find: Callable[[str], Any]) -> Any:
    def found(class_name: str) -> Any:
        if class_name not in COMPONENTS:
            refuse(f"class_name {class_name}: only airbyte-cdk's own components may be named here")
        return find(class_name)

    return staticmethod(found)


def no_files(_: Any) -> Any:
    def no_schema(*_: Any, **__: Any) -> NoReturn:
        raise OSError(  # which airbyte-cdk takes for "no such file" where a stream names no schema
            "a manifest has no files here: write the schema into it (InlineSchemaLoader)"
        )

    return no_schema


def no_downloads(_: Any) -> Any:
    return lambda *_, **__: refuse("file_uploader: this development server transfers no files, only records")


if __name__ == "__main__":
    close(factory.ModelToComponentFactory, "_get_class_from_fully_qualified_class_name", only_components)
    close(factory.ModelToComponentFactory, "create_file_uploader", no_downloads)
    close(JsonFileSchemaLoader, "get_json_schema", no_files)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
