#!/usr/bin/env bash
# Writes deploy/manifests from the chart, for clusters without Helm. The first
# run builds helm from its module. With --check it only says what is stale.
set -euo pipefail
cd "$(dirname "$0")/.."

helm=$(go run ./test/cluster/cmd build helm)
out=deploy/manifests
[[ "${1:-}" == --check ]] && out=$(mktemp -d) && trap 'rm -rf "$out"' EXIT

render() { # namespace, then flags of helm template
	"$helm" template haldane deploy/helm/haldane --skip-tests --namespace "$@" |
		sed -E '/^ *(helm\.sh\/chart|app\.kubernetes\.io\/managed-by): /d; /^# Source: /d' |
		awk '$0 == "---" { next_document = 1; blank = ""; next }
			/^[[:space:]]*$/ { blank = blank "\n"; next }
			{ if (next_document) print "---"; else printf "%s", blank; next_document = 0; blank = ""; print }'
}

mkdir -p "$out"
{
	cat <<'TEXT'
# Haldane for a whole cluster (Kubernetes 1.36 or later), made from the chart by tools/manifests.sh:
#   kubectl apply --server-side -f install.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: haldane-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
TEXT
	render haldane-system --set crds.keep=false
} >"$out/install.yaml"
{
	cat <<'TEXT'
# Haldane for one namespace, without any right outside of it, made from the chart by tools/manifests.sh:
#   kubectl apply --server-side -f ../crds                       # once, by an administrator
#   sed 's/NAMESPACE/shop/' namespaced.yaml | kubectl apply --server-side -f -
TEXT
	render NAMESPACE --set scope=namespace,crds.enabled=false,admission.mode=none,metrics.enabled=false
} >"$out/namespaced.yaml"

if [[ $out != deploy/manifests ]]; then
	diff -ru deploy/manifests "$out" || { echo 'deploy/manifests is stale: run make manifests' >&2; exit 1; }
fi
