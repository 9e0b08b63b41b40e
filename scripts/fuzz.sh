#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (default 5s), one after the
# other. Targets are found, not listed; finding none is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-5s}
listing=$(mktemp)
trap 'rm -f "$listing"' EXIT

go test -list '^Fuzz' ./... >"$listing" || { cat "$listing" >&2; exit 1; }

# go test prints a package's targets, then its "ok" line.
targets=$(awk '/^Fuzz/ { names[++n] = $1 }
	$1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' "$listing")
if [ -z "$targets" ]; then
	echo "fuzz: no fuzz target found" >&2
	exit 1
fi

while read -r package name; do
	echo "fuzz: $package $name"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" "$package" </dev/null
done <<<"$targets"
echo "fuzz: $(wc -l <<<"$targets") targets, $fuzztime each"
