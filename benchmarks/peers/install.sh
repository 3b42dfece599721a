#!/usr/bin/env bash
# Makes an environment of its own for each peer, from its lock file beside this script; the benchmark says of a peer
# without one that it was not run, and why.  usage: benchmarks/peers/install.sh DIRECTORY [NAME …]
set -uo pipefail
peers="$(cd "$(dirname "$0")" && pwd)"
directory="$1"
shift
[ $# -gt 0 ] || set -- $(cd "$peers" && ls ./*.lock | sed 's#./\(.*\)\.lock#\1#')
mkdir -p "$directory"
for name in "$@"; do
  lock="$peers/$name.lock" environment="$directory/$name"
  cmp --silent "$lock" "$environment/installed.lock" && continue
  rm -rf "$environment" "$directory/$name.failure"
  if "${PYTHON:-python3}" -m venv "$environment" 2>"$directory/$name.log" &&
    "$environment/bin/python" -m pip install --quiet --no-deps --require-hashes --requirement "$lock" 2>>"$directory/$name.log"; then
    cp "$lock" "$environment/installed.lock"
    rm "$directory/$name.log"
    echo "$name: installed"
  else
    { grep ERROR "$directory/$name.log" || tail -n 1 "$directory/$name.log"; } | tail -n 1 | cut -c 1-200 >"$directory/$name.failure"
    echo "$name: not installed: $(cat "$directory/$name.failure")"
  fi
done
