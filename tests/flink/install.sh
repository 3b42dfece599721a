#!/usr/bin/env bash
# Fetches Flink and Beam's job server from the package registries into a directory, and checks the sum of every jar.
# Ends with status 77, and says why, where Java, Maven or a package cannot be had; with 1 where a sum is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
home="$(realpath -m "${1:-.venv-flink}")"
python="${PYTHON:-.venv/bin/python}"
sums="$PWD/tests/flink/jars.sha256"
not_run() { # why
  echo "Flink: not run, because $1" >&2
  exit 77
}
cmp -s "$home/.installed" "$sums" && exit 0

bash tests/system_packages.sh java=openjdk-17-jre-headless mvn=maven
command -v java >/dev/null || not_run "there is no java, and it could not be installed"
command -v mvn >/dev/null || not_run "there is no mvn, and it could not be installed"
java -version 2>&1 | grep -q 'version "17' || not_run "java is not Java 17, which Flink 1.19 wants"

rm -rf "$home"
mkdir -p "$home/flink" "$home/job-server"
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary=:all: \
  --require-hashes --requirement tests/flink/requirements.lock --dest "$home" 2>"$home/pip.log"; then
  cat "$home/pip.log" >&2
  if grep -q 'DO NOT MATCH THE HASHES' "$home/pip.log"; then exit 1; fi
  not_run "PyPI does not serve what tests/flink/requirements.lock names"
fi
mvn --quiet --batch-mode -Dstyle.color=never --file tests/flink/pom.xml dependency:copy-dependencies \
  -DoutputDirectory="$home/job-server" >&2 ||
  not_run "Maven's registry does not serve what tests/flink/pom.xml names, or not all that it depends on"
tar --extract --gzip --file "$home"/apache-flink-libraries-*.tar.gz --directory "$home/flink" --strip-components=3 \
  --wildcards '*/deps/lib/flink-dist-*.jar' '*/deps/lib/log4j-*.jar'
rm "$home"/apache-flink-libraries-*.tar.gz
(cd "$home" && sha256sum --check --strict --quiet "$sums")
cp "$sums" "$home/.installed"
