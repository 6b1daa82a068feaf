#!/usr/bin/env bash
# Generates deep copies and CRDs from the types in api/v1alpha1, completes the
# CRD of releases (internal/manifest, definition.go), and writes the reference
# page from the CRDs. With --check it only says what is stale.
set -euo pipefail
cd "$(dirname "$0")/.."

crds=deploy/crds
copies=api/v1alpha1
if [[ "${1:-}" == --check ]]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	crds=$work
	copies=$work
fi

go tool -modfile=tools/go.mod controller-gen paths=./api/... \
	object output:object:dir="$copies" \
	crd:maxDescLen=4096 output:crd:dir="$crds"
go test -count=1 -run TestDefinitionIsComplete ./internal/manifest -update -definition "$(realpath "$crds")/haldane.dev_releases.yaml"

if [[ "${1:-}" == --check ]]; then
	for file in "$work"/*; do
		name=$(basename "$file")
		kept=deploy/crds/$name
		[[ $name == *.go ]] && kept=api/v1alpha1/$name
		diff -u "$kept" "$file" || { echo "$kept is stale: run make generate" >&2; exit 1; }
	done
	go test -count=1 -run TestReferenceIsFresh ./internal/manifest
	exit
fi
go test -count=1 -run TestReferenceIsFresh ./internal/manifest -update
