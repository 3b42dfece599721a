#!/usr/bin/env bash
# Builds and pushes both images, and writes the template: build.sh REPOSITORY TAG gs://…/heliograph.json
set -euo pipefail
repository=${1:?repository} tag=${2:?tag} template=${3:?gs:// address of the template}
cd "$(dirname "$0")/.."
for target in worker template; do
  docker build --file deploy/Dockerfile --target "$target" --tag "$repository/heliograph-$target:$tag" .
  docker push "$repository/heliograph-$target:$tag"
done
gcloud dataflow flex-template build "$template" \
  --image "$repository/heliograph-template:$tag" \
  --sdk-language PYTHON \
  --metadata-file deploy/template.json
