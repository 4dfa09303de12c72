#!/usr/bin/env bash
# `make test`: everything but soak and the cluster, in two processes side by side. Most of these tests wait for a
# process to start, so that one of them alone leaves a core idle. What the first says comes when the second is done.
set -uo pipefail
cd "$(dirname "$0")/.."
wanted=(-m "not soak and not cluster" "$@")
whole=$(mktemp)
trap 'kill "$first" 2>/dev/null; rm -f "$whole"' EXIT
.venv/bin/python -m pytest tests/end_to_end "${wanted[@]}" >"$whole" 2>&1 &
first=$!
.venv/bin/python -m pytest tests --ignore tests/end_to_end "${wanted[@]}"
rest=$?
wait "$first"
path=$?
cat "$whole"
for code in "$path" "$rest"; do
  case $code in 0 | 5) ;; *) exit "$code" ;; esac   # 5: a selection that has nothing in this half
done
[ "$path$rest" != 55 ] || exit 5
