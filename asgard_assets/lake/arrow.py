"""pyarrow without the half second that importing pandas takes.

The first `pa.array(…)` of a process imports pandas, to see whether it was given a Series. Where nobody else has
imported pandas, there is none.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from threading import get_ident
from typing import Any


def without_pandas() -> None:
    """Let pyarrow do without pandas until somebody imports it; from then on it knows Series and frames as always."""
    if "pandas" in sys.modules or any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        return
    import pyarrow as pa

    waiting = _Waiting()
    sys.meta_path.insert(0, waiting)
    waiting.refused_to = get_ident()
    try:
        pa.array(())
    finally:
        waiting.refused_to = None


class _Waiting:
    """Finds nothing itself. Refuses pandas to pyarrow's first look, and tells pyarrow once it is there."""

    refused_to: int | None = None  # a thread

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "pandas":
            return None
        if self.refused_to == get_ident():
            raise ModuleNotFoundError("pandas is not needed yet", name=name)
        sys.meta_path.remove(self)  # pyright: ignore[reportArgumentType]
        found = importlib.util.find_spec(name)
        if found and found.loader:
            load = found.loader.exec_module

            def loaded(module: Any) -> None:
                load(module)
                import pyarrow as pa

                _ = pa.lib._pandas_api.pd  # pyright: ignore[reportAttributeAccessIssue]

            found.loader.exec_module = loaded
        return found
