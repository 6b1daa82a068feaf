#!/usr/bin/env bash
# Downloads a released haldane, checks it and puts it on the PATH.
set -euo pipefail
: "${VERSION:?}" "${RUNNER_TEMP:?}" "${GITHUB_PATH:?}"

# An input of several lines could speak to the runner by what is printed of it.
for name in VERSION SHA256; do
	if [[ ${!name:-} == *[$'\n\r']* ]]; then
		echo "::error title=Haldane::$name has more than one line"
		exit 64
	fi
done

if [[ -z ${SHA256:-} ]]; then
	echo "::error title=Haldane::sha256 is missing: give the checksum of the download of $VERSION"
	exit 1
fi
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) echo "::error title=Haldane::there is no build for $(uname -m)" && exit 1 ;;
esac
from=${HALDANE_DOWNLOADS:-https://github.com/haldane-project/haldane/releases/download}
dir=$RUNNER_TEMP/haldane
mkdir -p "$dir"
curl --fail --silent --show-error --location --max-time 300 --output "$dir/archive" -- "$from/$VERSION/haldane-linux-$arch.tar.gz"
if ! printf '%s  %s\n' "$SHA256" "$dir/archive" | sha256sum --check --status; then
	echo "::error title=Haldane::the download of $VERSION has another checksum than $SHA256"
	exit 1
fi
tar -xzf "$dir/archive" -C "$dir" haldane
echo "$dir" >>"$GITHUB_PATH"
