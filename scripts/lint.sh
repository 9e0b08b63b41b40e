#!/usr/bin/env bash
# Checks the form of all source: gofmt, go vet and golangci-lint on Go (each
# module that ships), node --check and the SDK's type check on JavaScript, bash
# -n on scripts.
# GOLANGCI_LINT is the binary; make lint builds the pinned one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
linter=$(realpath "${GOLANGCI_LINT:-.cache/bin/golangci-lint}")

sources() { find . \( -name node_modules -o -name .cache -o -name .git \) -prune -o -type f \( "$@" \) -print; }

unformatted=$(sources -name '*.go' | xargs -r gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'lint: gofmt these files:\n%s\n' "$unformatted" >&2
	exit 1
fi

for module in . bench; do
	if [ ! -f "$module/go.mod" ]; then continue; fi
	echo "lint: go vet and golangci-lint in $module"
	(cd "$module" && go vet ./... && "$linter" run --allow-parallel-runners --config "$root/.golangci.yml" ./...)
done

# Our JavaScript is ES modules throughout, whatever its folder's package.json says.
sources -name '*.js' -o -name '*.mjs' | while read -r file; do
	node --check --input-type=module - <"$file" || { echo "lint: $file does not parse" >&2; exit 1; }
done

if [ -f sdk/js/package.json ]; then
	(cd sdk/js && npm run --silent --if-present check)
fi

sources -name '*.sh' -o -path './.ci/run' | while read -r file; do
	bash -n "$file"
done
