"""What a person sees of a step that cannot go on: the error's own sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from asgard_assets.errors import AsgardError, Transient


@contextmanager
def clear_failures() -> Iterator[None]:
    """Every asset's body runs inside: what Asgard raises on purpose becomes a failure that shows its text.

    Only what may succeed when tried again (`Transient`) is tried again; a bug stays an exception.
    """
    try:
        yield
    except AsgardError as error:
        raise dg.Failure(
            error.message,
            metadata={"error": type(error).__name__},
            allow_retries=isinstance(error, Transient),
        ) from error
