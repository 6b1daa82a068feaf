#!/usr/bin/env bash
# The heavy suites: a real browser, gRPC's interop cases, h2spec, kill -9 and
# power-cut rounds, identical versions, real rollbacks beside simulated ones, a
# full cluster, models. Debian packages are installed where that is allowed; what
# is missing is said, and is a failure under CI=true. HALDANE_LONG=1 gives every
# figure its full count, which takes hours.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=() skipped=()

have() { # package test...: install the package unless the test says that it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    [ -n "${APT_READY:-}" ] || { apt-get update -qq && APT_READY=1; } >/dev/null 2>&1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  fi
  "$@" >/dev/null 2>&1
}

suite() { # name command...
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  if "$@"; then echo "ok   $name ($((SECONDS - start)) s)"; else echo "FAIL $name ($((SECONDS - start)) s)"; failed+=("$name"); fi
}

beside=()
# aside starts a suite that mostly waits, beside those that follow until joined,
# which prints what it said.
aside() { # name command...
  local log
  log=$(mktemp)
  (failed=() && suite "$@" && [ ${#failed[@]} -eq 0 ]) >"$log" 2>&1 &
  beside+=("$!" "$log" "$1")
}

joined() {
  while [ ${#beside[@]} -gt 0 ]; do
    wait "${beside[0]}" || failed+=("${beside[2]}")
    cat "${beside[1]}"
    rm "${beside[1]}"
    beside=("${beside[@]:3}")
  done
}

# tests gives a suite 90 minutes: patience on a slow machine, and no figure.
tests() { go test -count=1 -timeout 90m "$@"; }

skip() { echo "skip $1: $2"; skipped+=("$1"); }

fuzz() { # package fuzzer...: 20 s each
  local package=$1 f
  shift
  for f; do go test -run '^$' -fuzz "^$f\$" -fuzztime 20s "$package" || return 1; done
}

export HALDANE_E2E=1 HALDANE_INTEROP_RUNS=100 HALDANE_CHANGES=1000 HALDANE_CRASH_ROUNDS=200

HALDANE_LONG=1 suite "standalone figures" tests -v -run 'Outage|Killed|Identical' ./test/standalone
real=RealRollbacks/errors
[ -z "${HALDANE_LONG:-}" ] || real=RealRollbacks # with latency: minutes more
HALDANE_LONG=1 suite "real rollbacks beside simulated ones" tests -v -run "$real" ./test/standalone
if (cd test/tools && go build -o ../../bin/h2spec github.com/summerwind/h2spec/cmd/h2spec); then
  export HALDANE_H2SPEC=$PWD/bin/h2spec
else
  skip "h2spec" "its module could not be built"
fi
suite "gRPC interop x100, 1,000 changes, h2spec" tests -v -run 'GRPC|Changes|H2Spec' ./test/interop
suite "store, killed 200 times" tests -run 'Kill|Crash' ./internal/store/sqlite
suite "demo" tests -v -run Story ./internal/demo
if [ "$(id -u)" = 0 ] && [ "$(uname)" = Linux ] && command -v apt-get >/dev/null || [ -n "${HALDANE_KUBECONFIG:-}" ]; then
  [ -n "${HALDANE_KUBECONFIG:-}" ] || apt-get update -qq >/dev/null 2>&1 || true
  suite "full cluster" tests -run 'Pods|Traefik|Istio|Flask' ./test/cluster
  suite "releases on a cluster" tests -v ./test/kubernetes
else
  skip "full cluster" "its node needs root and Debian's containerd, or HALDANE_KUBECONFIG"
fi
suite "istiod and clients without a proxy" tests -v -run 'Istiod|MeshRoute' ./internal/traffic/istio ./internal/traffic/gatewayapi
[ -z "${HALDANE_LONG:-}" ] || suite "1,000 idle releases, 50 promotions at once, outages" tests -v -run 'Idle|ManyPromotions|Outages' ./internal/app
suite "Argo CD and Flux" tests -run DeliveryToolsAgree ./internal/app
suite "Helm chart" tests ./test/chart
suite "image" sh -c 'cd tools/image && go test -count=1 ./...'
if have chromium command -v chromium; then
  suite "browser" tests ./internal/web
else
  skip "browser" "chromium is not installed (package chromium)"
fi
suite "LLM, prompt and price examples" tests -parallel 3 -run 'LLM|Prompt|Price' ./test/model
suite "planted faults, servers' own metrics" tests -parallel 4 -v -run 'PlantedFaults|OwnHistogram|UnknownSeries' ./test/model
suite "alike models, 20 pairs" tests -parallel 4 -v -run AlikeModels ./test/model
suite "fuzzing what models say" fuzz ./internal/inference FuzzScan FuzzStream FuzzAnswer FuzzRewrite
suite "fuzzing rewrites" fuzz ./internal/release FuzzSetField
if have nodejs command -v node && have npm command -v npm; then
  suite "OpenAI's client" tests -run Official ./test/model
else
  skip "OpenAI's client" "node and npm are not installed (packages nodejs and npm)"
fi
if have python3-flask /usr/bin/python3 -c 'import flask'; then
  aside "Flask example" ./test/example.sh
else
  skip "Flask example" "python3-flask is not installed"
fi
if have python3-sklearn /usr/bin/python3 -c 'import sklearn'; then
  suite "digits example" tests -v -run Digits ./test/model
else
  skip "digits example" "scikit-learn is not installed (package python3-sklearn)"
fi
joined

[ ${#skipped[@]} -eq 0 ] || echo "skipped: ${skipped[*]}"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
if [ "${CI:-}" = true ] && [ ${#skipped[@]} -gt 0 ]; then
  echo "a skip is a failure in CI"
  exit 1
fi
