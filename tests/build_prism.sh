#!/usr/bin/env bash
# Builds Prism of the Beam that is locked into a directory, by Go: build_prism.sh DIRECTORY
# Where it cannot it says why; the tests that need Prism are then skipped.
set -uo pipefail
directory=$(cd "$1" && pwd)
cd "$(dirname "$0")/.." || exit
version=$(sed -n 's/^apache-beam==\([0-9.]*\).*/\1/p' requirements.lock)
stamp=$directory/.prism-$version
[ -e "$stamp" ] && exit 0
if ! command -v go >/dev/null; then
  echo "Prism: not run, because Go is not installed" >&2
elif ! log=$(GOBIN=$directory go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$version" 2>&1); then
  echo "Prism: not run, because go install failed: $(tail -n 1 <<<"$log")" >&2
else
  touch "$stamp"
fi
exit 0
