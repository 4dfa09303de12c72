"""What becomes of a step that cannot go on: a sentence for people, and another try where that may help."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from asgard_assets.errors import AsgardError, Transient
from asgard_assets.settings import Settings
from asgard_assets.spark.connect.sessions import went_away

_MISTAKES = (TypeError, AttributeError, NameError, ImportError, SyntaxError, AssertionError, LookupError)


@contextmanager
def clear_failures() -> Iterator[None]:
    """Every asset's body runs inside: what Asgard raises on purpose becomes a failure that shows its text.

    Tried again is what may succeed then: a `Transient` error, and what other libraries raise, such as a store that is
    away. A mistake in the code is not.
    """
    try:
        yield
    except AsgardError as error:
        raise dg.Failure(
            error.message,
            metadata={"error": type(error).__name__},
            allow_retries=isinstance(error, Transient),
        ) from error
    except _MISTAKES as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
    except Exception as error:
        if not went_away(error):
            raise
        raise dg.Failure(
            f"the Spark Connect server went away during the step, which has published nothing since: "
            f"{str(error).splitlines()[0][:300]}. Run it again once the server is back; `asgard doctor` says whether it is",
            metadata={"error": "SparkServerError"},
        ) from error


def retry_policy(retries: int | None = None) -> dg.RetryPolicy | None:
    """So many retries; None: as the settings say. The pause doubles each time, and is spread by chance.

    A step decides by its error whether it is tried at all (`clear_failures`). Without retries there is no policy:
    under one, a failure ends as "exceeded max_retries" and no longer as itself.
    """
    settings = Settings()
    allowed = settings.retries if retries is None else retries
    if allowed == 0:
        return None
    return dg.RetryPolicy(
        max_retries=allowed,
        delay=settings.retry_delay_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
