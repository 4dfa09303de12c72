#!/usr/bin/env bash
# The fast tests on the newest Dagster and dbt that the registry serves, in an environment beside this one.
# Prints which versions these are and, at the end, the tests that fail. Changes nothing here.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=.venv/bin/uv place=.venv/upgrade
newest=$(mktemp)
trap 'rm -f "$newest"' EXIT
# Without a version each of these is the newest; all other packages follow the bounds of pyproject.toml.
grep -oE '^(dagster[a-z0-9-]*|dbt-[a-z0-9-]+)==' requirements.lock | tr -d = | sort -u >"$newest"
$uv venv -q --clear --python .venv/bin/python "$place"
install() { $uv pip install -q --python "$place/bin/python" --override "$newest" -e '.[dev]'; }
if ! install; then
  # A newest dbt may need what no registry serves, such as a parser that is fetched while it is built.
  echo "the newest versions cannot be installed together (see above): dbt stays as it is here" >&2
  grep -E '^dbt-[a-z0-9-]+==' requirements.lock | cut -d' ' -f1 >"$newest.dbt"
  { grep '^dagster' "$newest"; cat "$newest.dbt"; } >"$newest.both"
  mv "$newest.both" "$newest" && rm "$newest.dbt"
  install
fi
echo "newest versions:"
$uv pip freeze -q --python "$place/bin/python" | grep -E '^(dagster|dbt-)' | while read -r package; do
  grep -q "^$package " requirements.lock || echo "  $package (here: $(grep -oE "^${package%%==*}==[^ ]+" requirements.lock | cut -d= -f3))"
done
if "$place/bin/python" -m pytest -q -m "${TESTS:-not full and not soak and not cluster and not servers and not slow}" "$@"; then
  echo "nothing breaks"
else
  echo "the tests named above break on these versions" >&2
  exit 1
fi
