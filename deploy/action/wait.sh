#!/usr/bin/env bash
# Waits for the end of the run, and tells it to the job: outputs, an annotation,
# a summary, and haldane's exit code (0 promoted, 2 rolled back, 3 time was up,
# 6 superseded).
set -uo pipefail
: "${RELEASE:?}" "${GITHUB_OUTPUT:=/dev/null}" "${GITHUB_STEP_SUMMARY:=/dev/null}"

# An input of several lines could speak to the runner by what is printed of it.
for name in RELEASE NAMESPACE TIMEOUT; do
	if [[ ${!name:-} == *[$'\n\r']* ]]; then
		echo "::error title=Haldane::$name has more than one line"
		exit 64
	fi
done

in=(--kube)
[[ -z ${NAMESPACE:-} ]] || in=(--namespace "$NAMESPACE")
[[ -z ${HALDANE_SERVER:-} ]] || in=() # a daemon in place of a cluster

code=0
haldane wait "${in[@]}" --timeout "${TIMEOUT:-30m}" -- "$RELEASE" || code=$?
state=$(haldane get "${in[@]}" --output json -- "$RELEASE") || state='{}'
field() { jq -r "$1 // empty" <<<"$state" | tr -d '\r' | tr '\n' ' ' | sed 's/ *$//'; }

phase=$(field '.status.run.phase')
verdict=$(field '.status.verdict')
reason=$(field '.status.message')
run=$(field '.status.run.name')
{
	echo "phase=$phase"
	echo "verdict=$verdict"
	echo "reason=$reason"
	echo "run=$run"
} >>"$GITHUB_OUTPUT"

# Words of an annotation, and of a table's cell, can not end it.
escaped() { sed -e 's/%/%25/g' -e 's/::/:%3A/g' <<<"$1"; }
case $code in
0) echo "::notice title=$(escaped "$RELEASE") promoted::$(escaped "$reason")" ;;
3) echo "::error title=$(escaped "$RELEASE"): the time is up::$(escaped "${reason:-no status}"). The run goes on." ;;
*) echo "::error title=$(escaped "$RELEASE") not released::$(escaped "${reason:-haldane ended with exit code $code}")" ;;
esac

jq -r --arg release "$RELEASE" '
	def cell: tostring | gsub("[\r\n|]"; " ") | gsub("<"; "&lt;");
	.status as $s | ($s.run // {}) as $r |
	"### \($release | cell): \($r.phase // "no run" | cell)",
	"", ($s.message // "" | cell), "",
	(if ($r.metrics // []) == [] then empty else
		"| metric | stable | canary | ratio | evidence against it | verdict |",
		"|---|---|---|---|---|---|",
		($r.metrics[] | "| \(.name | cell) | \(.stable | cell) | \(.canary | cell) | \(.ratio // "" | cell) | \(.evidence // "" | cell) | **\(.verdict | cell)** |"),
		""
	end),
	(if $r.name then "Run \($r.name | cell), from \($r.from // "nothing" | cell) to \($r.to | cell): \($r.canaryRequests) requests of the new version, \($r.stableRequests) of the old." else empty end)
' <<<"$state" >>"$GITHUB_STEP_SUMMARY"
exit "$code"
