#!/usr/bin/env bash
# Looks for known vulnerabilities in what each module that ships calls.
# GOVULNCHECK is the binary; make vuln builds the pinned one. VULNDB is the
# database, a URL with https or file. Ends with 3 where there are some, with 2
# where the database could not be asked: then nothing was checked.
set -euo pipefail
cd "$(dirname "$0")/.."
checker=$(realpath "${GOVULNCHECK:-.cache/bin/govulncheck}")
db=${VULNDB:-https://vuln.go.dev}

found=0
for module in . bench; do
	if [ ! -f "$module/go.mod" ]; then continue; fi
	echo "vuln: $module"
	status=0
	said=$(cd "$module" && "$checker" -db "$db" ./... 2>&1) || status=$?
	case $status in
	0 | 3) printf '%s\n' "$said" ;;
	*)
		printf '%s\n' "$said" >&2
		echo "vuln: NOTHING WAS CHECKED in $module: it wants the database at $db (VULNDB names another)" >&2
		exit 2
		;;
	esac
	if [ "$status" -ne 0 ]; then found=$status; fi
done
exit "$found"
