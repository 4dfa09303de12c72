"""A file read in another process, and its records handed over. What that process sends is not trusted: bytes of a file
may have taken it over, so only plain values and Arrow's own arrays are made from it."""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.readers.isolated import Lost, lines_apart
from asgard_assets.ingest.files.readers.records import Range, Records

_MADE = {
    "asgard_assets.ingest.files.readers.records": {"Bad", "Records"},
    "builtins": {"set", "frozenset", "bytearray", "complex"},
    "collections": {"OrderedDict"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "uuid": {"UUID", "SafeUUID"},
    "_codecs": {"encode"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}
_ARROW = "pyarrow.lib"


Read = Callable[[Landing, str, Any, Range | None], Iterator[Records]]


def read_apart(landing: Landing, path: str, how: Any, part: Range | None, read: Read) -> Iterator[Records]:
    """The file's records, read by `read` in a process of their own, as they come. Raises SourceError where there are none."""
    file = landing.look(path)
    try:
        for line in lines_apart(_tell, [(path, file.size if file else 0)], (landing, how, part, read)):
            told = json.loads(line)
            if "error" in told:
                raise SourceError(told["error"], source=path)
            yield unpacked(told["records"])
    except pickle.UnpicklingError as error:
        raise SourceError(f"{path} cannot be read: {error}", source=path) from error
    except Lost as lost:
        raise SourceError(f"{path} cannot be read: it {lost}", source=path) from None


def _tell(paths: Iterable[str], context: Any) -> Iterator[str]:
    landing, how, part, read = context
    for path in paths:
        try:
            for records in read(landing, path, how, part):
                yield json.dumps({"records": base64.b64encode(pickle.dumps(records, 5)).decode()})
        except SourceError as error:
            yield json.dumps({"error": error.message})


def unpacked(text: str) -> Records:
    """The records in a line. Raises UnpicklingError where it would call something else."""
    return _Plain(io.BytesIO(base64.b64decode(text))).load()


class _Plain(pickle.Unpickler):
    """Makes records and what they hold, and calls nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        if name in _MADE.get(module, ()) or (module == _ARROW and _is_arrow(name)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not what a reader hands over")


def _is_arrow(name: str) -> bool:
    """Arrays, types and buffers: nothing that opens a file."""
    return name.endswith(("Array", "Type", "Scalar")) or name in (
        "_restore_array", "chunked_array", "py_buffer", "type_for_alias", "field", "struct", "list_", "large_list", "map_",
        "timestamp", "decimal128", "decimal256", "dictionary", "Field", "schema", "_reconstruct_schema", "KeyValueMetadata",
    )  # fmt: skip
