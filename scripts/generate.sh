#!/usr/bin/env bash
# Runs every go:generate line. In CI (the variable is set) it fails when that
# changes the tree: generated files are committed as they come out.
set -euo pipefail
cd "$(dirname "$0")/.."

snapshot() { git status --porcelain && git diff; }

before=''
if [ -n "${CI:-}" ]; then before=$(snapshot); fi
go generate ./...
if [ -n "${CI:-}" ] && [ "$(snapshot)" != "$before" ]; then
	echo 'generate: go generate changed these files; commit what it makes:' >&2
	git --no-pager diff --stat >&2
	git status --short >&2
	exit 1
fi
