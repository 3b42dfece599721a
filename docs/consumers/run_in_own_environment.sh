#!/usr/bin/env bash
# Runs the scripts of tools that do not fit into our own environment, Feast and Spark, each in its own, against a
# store that the tests make. Spark needs Java; DELTA_JARS names a directory with Delta's jars, else Maven fetches them.
set -euo pipefail
cd "$(dirname "$0")/../.."
environments="${1:-.venv-consumers}"
python="${PYTHON:-.venv/bin/python}"

environment() { # name, packages …
  local name="$1"
  shift
  [ -x "$environments/$name/bin/python" ] || "$python" -m venv "$environments/$name"
  "$environments/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

environment feast 'feast==0.67.0' 'deltalake>=1.6,<2'
environment spark 'pyspark==4.0.5' 'delta-spark==4.0.1' 'deltalake>=1.6,<2' pyarrow
if [ -z "${DELTA_JARS:-}" ]; then
  DELTA_JARS="$(realpath -sm "$environments")/jars"
  for jar in io.delta:delta-spark_2.13:4.0.1 io.delta:delta-storage:4.0.1 org.antlr:antlr4-runtime:4.13.1; do
    mvn -q -B dependency:copy -Dartifact="$jar" -DoutputDirectory="$DELTA_JARS"
  done
fi
export DELTA_JARS
HELIOGRAPH_PYTHON_FEAST="$(realpath -s "$environments/feast/bin/python")" \
HELIOGRAPH_PYTHON_SPARK="$(realpath -s "$environments/spark/bin/python")" \
  "$python" -m pytest tests/consumers -v -rs -k 'feast or spark'
