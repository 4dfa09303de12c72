"""Every error that Asgard raises on purpose.

AsgardError
├── ConfigError        a setting, YAML file or specification is wrong: fix it and start again
│   ├── NotFoundError  what was named does not exist
│   ├── ConflictError  it stands against what is there already
│   │   └── ChangedError  others changed it since it was read
│   └── NotBuiltError  Asgard cannot do this yet, or not with what is installed
├── SourceError        a source cannot be read: unreachable, refused, malformed
├── LakeError          a table cannot be read or written as asked
│   ├── FencedError    another writer published the same partition first; this commit changed nothing
│   └── UnknownCommitError   the store lost the answer to a commit, and the log does not tell whether it landed
├── QualityError       a blocking check failed: the named partitions were not published
├── CatalogError       a catalog that follows the lake cannot be reached, or refuses
├── SparkJobError      a Spark driver ended without its step's own success
│   └── SparkServerError   the Spark Connect server is away, or has no session free
└── ModelError         training, promotion or prediction cannot go on

`Transient` marks what may succeed when tried again, `Terminal` what will not; a retry policy asks the
type, never the text.
"""

from __future__ import annotations

from typing import Any


class AsgardError(Exception):
    """Base of all errors. Keyword arguments become attributes and survive pickling."""

    def __init__(self, message: str, **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        self.attributes = attributes

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__.get("attributes", {})
        if name in attributes:
            return attributes[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.attributes)


def _rebuild(kind: type[AsgardError], message: str, attributes: dict[str, Any]) -> AsgardError:
    return kind(message, **attributes)


class Transient:
    """Mixin: the same call may succeed later."""


class Terminal:
    """Mixin: the same call will fail again."""


class ConfigError(Terminal, AsgardError):
    """A setting, YAML file or specification is wrong. Carries `file` and `line` where known."""


class NotFoundError(ConfigError):
    """What was named does not exist."""


class ConflictError(ConfigError):
    """It stands against what is there already."""


class ChangedError(ConflictError):
    """Others changed it since it was read: read it again."""


class NotBuiltError(ConfigError):
    """Asgard cannot do this yet, or not with what is installed."""


class SourceError(AsgardError):
    """A source cannot be read. Carries `source`."""


class LakeError(AsgardError):
    """A table cannot be read or written as asked. Carries `table`."""


class FencedError(Terminal, LakeError):
    """Another writer published the same partition first. Carries `table` and `days`."""


class UnknownCommitError(Transient, LakeError):
    """Nobody can tell whether a commit landed: its staged files must stay. Carries `table`."""


class QualityError(Terminal, AsgardError):
    """A blocking check failed. Carries `table` and `days`."""


class CatalogError(Transient, AsgardError):
    """A catalog that follows the lake cannot be reached, or refuses. Its tables are as they were: sync again."""


class SparkJobError(AsgardError):
    """A Spark driver ended without its step's own success. Carries `exit_code`."""


class SparkServerError(Transient, SparkJobError):
    """The Spark Connect server cannot be reached, went away during a step, or has no session free. Carries `address`."""


class ModelError(AsgardError):
    """Training, promotion or prediction cannot go on."""
