#!/usr/bin/env bash
# Every night an embed of what is new, started by Cloud Scheduler. Reads the settings from the environment:
# PROJECT REGION TEMPLATE INPUT STORE WORKER_IMAGE TEMP_LOCATION SERVICE_ACCOUNT, and SCHEDULE (default 02:00 UTC).
set -euo pipefail
: "${PROJECT:?}" "${REGION:?}" "${TEMPLATE:?}" "${INPUT:?}" "${STORE:?}" "${WORKER_IMAGE:?}" "${TEMP_LOCATION:?}" "${SERVICE_ACCOUNT:?}"
body=$(mktemp)
trap 'rm -f "$body"' EXIT
python3 - "$(dirname "$0")/nightly.json" >"$body" <<'PYTHON'
import os, string, sys
print(string.Template(open(sys.argv[1]).read()).substitute(os.environ))
PYTHON
gcloud scheduler jobs create http heliograph-nightly \
  --project "$PROJECT" --location "$REGION" \
  --schedule "${SCHEDULE:-0 2 * * *}" --time-zone Etc/UTC \
  --uri "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch" \
  --http-method POST --headers Content-Type=application/json \
  --message-body-from-file "$body" \
  --oauth-service-account-email "$SERVICE_ACCOUNT"
