#!/usr/bin/env bash
# Runs every go:generate line. In CI (the variable is set) it fails when that
# changes the tree: generated files are committed as they come out.
set -euo pipefail
cd "$(dirname "$0")/.."

go generate ./...
if [ -n "${CI:-}" ]; then
	changed=$(git status --porcelain)
	if [ -n "$changed" ]; then
		printf 'generate: these files differ from what go generate makes:\n%s\n' "$changed" >&2
		git --no-pager diff >&2
		exit 1
	fi
fi
