#!/usr/bin/env bash
# Applies manifests and gives the Deployment its image. The Deployment is paused
# in that same write and nothing rolls out: Haldane starts a run.
set -euo pipefail
: "${RELEASE:?}"

# An input of several lines could speak to the runner by what is printed of it.
for name in RELEASE NAMESPACE MANIFESTS IMAGE DEPLOYMENT CONTAINER; do
	if [[ ${!name:-} == *[$'\n\r']* ]]; then
		echo "::error title=Haldane::$name has more than one line"
		exit 64
	fi
done

deployment=${DEPLOYMENT:-$RELEASE}
in=()
[[ -z ${NAMESPACE:-} ]] || in=(--namespace "$NAMESPACE")
[[ -z ${MANIFESTS:-} ]] || kubectl apply --server-side "${in[@]}" --filename "$MANIFESTS"
[[ -z ${IMAGE:-} ]] || kubectl set image "${in[@]}" -- "deployment/$deployment" "${CONTAINER:-$deployment}=$IMAGE"
