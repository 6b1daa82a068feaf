#!/usr/bin/env bash
# Follows examples/hello/README.md with real Flask processes: v1 serves, v2 is
# rolled back (exit code 2), v3 is promoted (exit code 0), and no user sees an error.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
make -s build
haldane=$PWD/bin/haldane
export HALDANE_DATA=$work/data PATH=/usr/bin:$PATH # Debian's Flask is Debian's python3's
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

address=127.0.0.1:$((20000 + RANDOM % 12000))
front=127.0.0.1:$((20000 + RANDOM % 12000))
"$haldane" serve --listen "$address" 2>"$work/serve.log" &
pids+=($!)
export HALDANE_SERVER=$address
for _ in $(seq 100); do "$haldane" get >/dev/null 2>&1 && break; sleep 0.1; done
cp -r examples/hello "$work/hello"
sed -i "s/127.0.0.1:8080/$front/" "$work"/hello/*.yaml
cd "$work/hello"
sed -i 's/falseRollback: 1%/falseRollback: 0.01%/' v3.yaml # of good versions one in a hundred may be rolled back

"$haldane" apply -f release.yaml --wait
"$haldane" load "http://$front/hello" --rate 100 --for 10m -o json >"$work/load.json" 2>"$work/load.log" &
pids+=($!)
code=0
"$haldane" apply -f v2.yaml --wait --timeout 3m || code=$?
[ "$code" = 2 ] || { echo "v2 ended with exit code $code, expected 2"; exit 1; }
"$haldane" apply -f v3.yaml --wait --timeout 8m
kill -INT "${pids[1]}"
wait "${pids[1]}" || true
python3 - "$work/load.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
print(f"users: {r['requests']} requests, {r['failed']} failed")
sys.exit(1 if r["failed"] or r["requests"] < 1000 else 0)
PY
