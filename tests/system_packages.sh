#!/usr/bin/env bash
# Installs the Debian packages that tests need, quietly and only when a command is missing: COMMAND=PACKAGE …
# Where it cannot (no root, no Debian) it says so; the tests that need the command are then skipped with that reason.
set -uo pipefail
missing=()
for pair in "$@"; do
  command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
done
[ "${#missing[@]}" = 0 ] && exit 0
root=()
if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
export DEBIAN_FRONTEND=noninteractive
if ! { "${root[@]}" apt-get -qq update && "${root[@]}" apt-get -qq -y --no-install-recommends install "${missing[@]}"; } >/dev/null 2>&1; then
  echo "could not install ${missing[*]} with apt-get; tests that need them are skipped" >&2
fi
exit 0
