#!/usr/bin/env bash
# Runs the tests with coverage and prints it by package, the total last. The
# profile is left in .cache/cover.out for `go tool cover -html`.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .cache
profile=.cache/cover.out
go test -coverprofile="$profile" ./...
echo
echo 'statements covered, by package'
awk 'NR > 1 {
	package = $1; sub(/\/[^\/]*$/, "", package)
	all[package] += $2; total += $2
	if ($3 > 0) { hit[package] += $2; hits += $2 }
}
END {
	for (p in all) printf "%6.1f %%  %s\n", 100 * hit[p] / all[p], p | "sort -k3"
	close("sort -k3")
	if (total) printf "%6.1f %%  total\n", 100 * hits / total
}' "$profile"
