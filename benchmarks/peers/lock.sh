#!/usr/bin/env bash
# Writes the lock file of each peer's environment; what heliograph uses too has heliograph's version. Needs uv.
# Triton is left out: PyTorch needs it for GPUs only, and its LLVM and TensorFlow's do not bear each other.
set -euo pipefail
cd "$(dirname "$0")"
shared='^(ai-edge-litert|apache-beam|backports-strenum|keras|numpy|pillow|protobuf|scikit-learn|tensorflow|tensorflow-hub|tf-keras)=='
network=(ai-edge-litert backports-strenum==1.2.8 keras numpy pillow pyarrow tensorflow)

lock() { # name, packages …
  local name="$1"
  shift
  printf '%s\n' "$@" | uv pip compile --quiet --no-header --generate-hashes --no-annotate --python-version 3.11.2 \
    --no-emit-package triton --constraint <(sed 's/ \\$//' ../../requirements.lock | grep -E "$shared") \
    - --output-file "$name.lock"
}

lock beam apache-beam 'setuptools<81' tensorflow-hub "${network[@]}"
lock daft daft "${network[@]}"
lock ray 'ray[data]' "${network[@]}"
lock tensorflow "${network[@]}"
lock torch torch numpy
