#!/usr/bin/env bash
# Applies manifests and gives the Deployment its image. The Deployment is paused
# in that same write and nothing rolls out: Haldane starts a run.
set -euo pipefail
: "${RELEASE:?}"
deployment=${DEPLOYMENT:-$RELEASE}
in=()
[[ -z ${NAMESPACE:-} ]] || in=(--namespace "$NAMESPACE")
[[ -z ${MANIFESTS:-} ]] || kubectl apply --server-side "${in[@]}" --filename "$MANIFESTS"
[[ -z ${IMAGE:-} ]] || kubectl set image "${in[@]}" -- "deployment/$deployment" "${CONTAINER:-$deployment}=$IMAGE"
