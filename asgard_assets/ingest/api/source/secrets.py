"""References to secrets and to deployment settings, resolved at the last moment, on the driver."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.values.echoes import Written, any_form, may_escape
from asgard_assets.settings import Settings

MASK = "***"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PREFIX = "ASGARD_"
_LONGEST_WORD = 12
_REMEMBERED = 16
_SHORTEST = 6  # shorter ones would turn ordinary text into stars


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that does not print."""

    value: str

    def __repr__(self) -> str:
        return f"Secret({MASK})"


Reader = Callable[[str], str]
"""Gives the text of a secret in AWS Secrets Manager, by its name. Raises ConfigError or SourceError."""
_reader: ContextVar[Reader | None] = ContextVar("aws_secrets", default=None)


@contextmanager
def aws_secrets(reader: Reader | None) -> Iterator[None]:
    """Inside, references `aws-secret:NAME` and `aws-secret:NAME#KEY` are read by `reader`."""
    before = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(before)


def resolve(reference: str, source: str) -> Secret:
    """The secret behind `env:NAME`, `file:/path`, `aws-secret:NAME#KEY` or `vault:PATH#KEY`. Raises ConfigError, which names
    the reference, or SourceError where a store does not answer."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return Secret(_variable(name, source))
    if kind == "aws-secret":
        return Secret(_aws_secret(name, source))
    if kind == "vault":
        from asgard_assets.ingest.vault import from_vault

        return Secret(from_vault(name, source))
    try:
        return Secret(Path(name).read_text().strip())
    except OSError as error:
        raise ConfigError(
            f"{source}: the secret file {name} cannot be read ({error.strerror}); is it mounted?",
            mentions=name,
        ) from error


def _aws_secret(reference: str, source: str) -> str:
    reader = _reader.get()
    name, _, key = reference.partition("#")
    if reader is None:
        raise ConfigError(
            f"{source}: nothing reads aws-secret:{name} here; run the source as an asset or by `asgard`, or inside "
            "`with aws_secrets(reader)` of asgard_assets.ingest.api.source.secrets",
            mentions=reference,
        )
    text = reader(name)
    if not key:
        return text
    try:
        known = json.loads(text)
        found = known[key]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{source}: the secret {name} in AWS Secrets Manager has no key {key!r}; it must be a JSON object "
            f"with this key, or leave #{key} out of the reference",
            mentions=reference,
        ) from None
    return found if isinstance(found, str) else json.dumps(found)


def expand(text: str, source: str) -> str:
    """`${NAME}` filled in. Raises ConfigError where a name is unknown."""
    return _VARIABLE.sub(lambda match: _variable(match.group(1), source), text)


def address_shown(template: str, filled: str) -> Callable[[str], str]:
    """How an address is shown: what variables bring into its path may be a secret, so it stays `${NAME}`."""
    names = _VARIABLE.findall(template)
    pattern = re.escape(_VARIABLE.sub("\0", template)).replace(re.escape("\0"), "(.*?)")
    found = (
        re.fullmatch(pattern, filled.rstrip("/") if not template.endswith("/") else filled) if names else None
    )
    if found is None:
        return str
    host_ends = re.match(r"\w+://[^/]*", filled)
    hidden = [
        (value, f"${{{name}}}")
        for number, (name, value) in enumerate(zip(names, found.groups(), strict=True), 1)
        if len(value) >= _SHORTEST and host_ends and found.start(number) > host_ends.end()
    ]

    def shown(url: str) -> str:
        for value, name in hidden:
            url = url.replace(value, name)
        return url

    return shown if hidden else str


def variable(reference: str) -> str | None:
    """The environment variable that a reference reads; None where it reads a file."""
    kind, _, name = reference.partition(":")
    return name if kind == "env" else None


_SYSTEM = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|PWD|HOSTNAME|TERM|TZ|TMPDIR|TMP|TEMP|LANG|LANGUAGE|\w+_HOME"
    r"|(LC|XDG|LD|DYLD|SSL|PYTHON|PYENV|PYSPARK|SPARK|JAVA|JDK|HADOOP|KUBERNETES|AWS|ASGARD|MALLOC|ARROW|OMP"
    r"|OPENBLAS|MKL|NUMEXPR|VIRTUAL|CONDA|COV)(_?)\w*)"
)


def withheld(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """What hides variables of the environment from a process: all but the system's, those of Python, Spark and
    the lake, and those that are `wanted`.
    """
    kept = {*wanted}
    return {name: "" for name in names if name not in kept and not _SYSTEM.fullmatch(name)}


def _variable(name: str, source: str) -> str:
    """An environment variable; a setting `ASGARD_…` counts with its default and its `.env` entry too."""
    if name in os.environ:
        return os.environ[name]
    setting = name.removeprefix(_PREFIX).lower()
    if name.startswith(_PREFIX) and setting in Settings.model_fields:
        return str(getattr(Settings(), setting))
    raise ConfigError(
        f"{source}: the environment variable {name} is not set; set it and start again", mentions=name
    )


class Redactor:
    """Takes known secrets out of any text, whatever way they got there (an API that echoes them, say).

    `added` is how many sets of them it was told: what was cleaned before another came is not clean any more.
    """

    def __init__(self, values: Iterable[str] = ()):
        self._sets: deque[frozenset[str]] = deque(maxlen=_REMEMBERED)
        self._values: tuple[str, ...] = ()
        self._words: frozenset[str] = frozenset()
        self._written: tuple[Written, ...] = ()
        self._runs: tuple[str, ...] = ()
        self._cores: tuple[str, ...] = ()
        self.added = 0
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Also take these out; of sets that were added, such as one access token after the other, the last few
        are remembered."""
        # Very short values would turn ordinary text into stars.
        found = frozenset(value for value in values if len(value) >= 6)
        if found and found not in self._sets:
            self._sets.append(found)
            self.added += 1
            self._values = tuple(sorted(frozenset().union(*self._sets), key=len, reverse=True))
            self._words = frozenset(v for v in self._values if v.isalpha() and len(v) <= _LONGEST_WORD)
            self._written = tuple(map(any_form, sorted({*self._values} - self._words, key=len, reverse=True)))
            self._runs = tuple(written.run for written in self._written)
            self._cores = tuple(core for written in self._written for core in written.cores)

    @property
    def empty(self) -> bool:
        """Whether it knows no secret yet."""
        return not self._values

    def data(self, text: str) -> str:
        """The same for what a table is for, in which a secret that is a plain word stays: it means something else there."""
        for value in self._values:
            if value in text and value not in self._words:
                text = text.replace(value, MASK)
        return self._decoded(text)

    def has_word(self, text: str) -> bool:
        """Whether the text holds a secret that is a plain word."""
        return bool(self._words) and any(word in text for word in self._words)

    def text(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return self._decoded(text)

    def _decoded(self, text: str) -> str:
        """The text without secrets that JSON, HTML, addresses, base64 or UTF-16 write in another way."""
        if not self._written:
            return text
        low = text.lower()
        escaped = may_escape(low)
        if not escaped:
            for run in self._runs:
                if run in low:
                    break
            else:
                for core in self._cores:
                    if core in text:
                        break
                else:
                    return text
        for written in self._written:
            if written.run in low or (escaped and any(sign in low for sign in written.signs)):
                text = written.pattern.sub(MASK, text)
            for core in written.cores:
                if core in text:
                    text = re.sub(rf"[\w+/-]*{re.escape(core)}[\w+/-]*=*", MASK, text)
        return text


SENSITIVE_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token"}
)


_LOGIN = frozenset(
    "signature sig token secret password passwd authorization auth credential credentials apikey session cookie jwt".split()
)
_LOGIN_KEYS = frozenset("api access auth subscription private license account secret client".split())
_OF_A_LIST = frozenset("page next previous continuation sync delta cursor etag idempotency".split())


@lru_cache(maxsize=4096)
def carries_a_login(header: str) -> bool:
    """Whether a header or parameter of this name carries a secret: `X-Shopify-Access-Token`, `PRIVATE-TOKEN`, `api_key`."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", header).lower())
    if header.lower() in SENSITIVE_HEADERS:
        return True
    if not _OF_A_LIST.isdisjoint(words) or words[:1] == ["www"] or words[:2] == ["access", "control"]:
        return False
    pairs = zip(words, words[1:], strict=False)
    return not _LOGIN.isdisjoint(words) or any(b == "key" and a in _LOGIN_KEYS for a, b in pairs)


_PARAMETER = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]+)")


def without_logins(url: str) -> str:
    """The address with stars in place of parameters that carry a secret by their name."""
    if "?" not in url:
        return url
    return _PARAMETER.sub(lambda m: f"{m[1]}={MASK}" if carries_a_login(m[1]) else m[0], url)
