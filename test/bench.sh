#!/usr/bin/env bash
# Figures of speed, each as a ratio against a peer or a limit of the same run.
# nginx and HAProxy are installed where that is allowed; a peer that is not
# there is named as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  for p in nginx haproxy; do
    command -v $p >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $p; } >/dev/null 2>&1 || true
  done
fi
echo "== proxy, beside its peers"
go run ./test/bench "$@"
echo "== judge, recorder, proxy, model traffic: time and allocations"
go test -run '^$' -bench . -benchtime 1s ./internal/judge ./internal/telemetry ./internal/proxy ./internal/inference ./internal/traffic/embedded
