#!/usr/bin/env bash
# The fast tests on the newest Dagster and dbt that the registry serves, in an environment beside this one.
# Prints which versions these are and, at the end, the tests that fail there and not here. Changes nothing here.
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
rm -rf "$place/failed" "$place/here"
if "$place/bin/python" -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder -o cache_dir="$place/failed" \
  -m "${TESTS:-not full and not soak and not cluster and not servers and not slow}" "$@"; then
  echo "nothing breaks"
  exit
fi
names() { .venv/bin/python -c 'import json, sys; print(*sorted(json.load(open(sys.argv[1]))), sep="\n")' "$1/v/cache/lastfailed" 2>/dev/null || true; }
mapfile -t failed < <(names "$place/failed")
((${#failed[@]})) || { echo "the tests could not run on these versions, see above" >&2; exit 1; }
# What fails here as well is no matter of the versions.
.venv/bin/python -m pytest -q -n 0 -o cache_dir="$place/here" "${failed[@]}" >"$place/here.log" 2>&1 || true
mapfile -t broken < <(comm -23 <(names "$place/failed") <(names "$place/here"))
mapfile -t both < <(comm -12 <(names "$place/failed") <(names "$place/here"))
((${#both[@]})) && printf 'fails on the versions of requirements.lock too: %s\n' "${both[@]}"
((${#broken[@]})) || { echo "nothing breaks that does not fail here as well"; exit; }
printf 'breaks on these versions: %s\n' "${broken[@]}" >&2
exit 1
