#!/usr/bin/env bash
# Format, vet, linters, stale generated files and known vulnerabilities. The
# tools are built from tools/go.mod at their pinned versions; the first run
# takes minutes, later ones seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

tool() { go tool -modfile=tools/go.mod "$@"; }

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [[ -n $unformatted ]]; then
	printf 'not formatted (gofmt -w):\n%s\n' "$unformatted" >&2
	exit 1
fi
go vet ./...
tool golangci-lint run ./...
./tools/generate.sh --check

workflows=$(git ls-files '*.github/workflows/*.yml' '*.github/workflows/*.yaml')
if [[ -n $workflows ]]; then
	# shellcheck disable=SC2086 # one argument for each file
	tool actionlint $workflows
fi

# The vulnerability database is read from a directory where one is named, since
# a build machine may not reach the public one.
if [[ -n ${GOVULNDB:-} ]]; then
	tool govulncheck -db "$GOVULNDB" ./...
else
	echo 'vulnerability check skipped: set GOVULNDB to a database (file:///path)'
fi
