#!/usr/bin/env bash
# Installs what the tests need beyond Go: Debian packages for programs that are
# missing, npm packages for every lock file. Quick when all is there. Where it
# cannot install, it says in one line what is missing. Whatever asks the network
# has a bounded time, and is tried three times.
#
#   scripts/setup.sh            everything that the tests need
#   scripts/setup.sh NEED...    only these: rows of the table, folders with npm packages,
#                               modules (the Go modules of all that is built here)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/bin:$PATH" # where setup_node puts what it brings; make does the same

# One need a row: its name | programs, any of which will do | Debian packages.
needs='
make     | make                                                         | make
node     | node                                                         | nodejs
npm      | npm                                                          | npm
chromium | chromium chromium-browser google-chrome google-chrome-stable | chromium
cc       | gcc cc clang                                                 | gcc libc6-dev
protoc   | protoc                                                       | protobuf-compiler
rabbitmq | rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmq-server        | rabbitmq-server
python   | python3                                                      | python3
curl     | curl                                                         | curl
git      | git                                                          | git
'

# What the tests need; other rows are asked for by name (make race, make generate).
for_tests='node npm chromium rabbitmq python curl git'

# The tests want this Node at least. Where the system's is older (Debian 12 has
# 18), this version comes from npm, for this folder only.
node_major=20
node_version=22.23.3

# npm's own patience with a registry; again has more.
export npm_config_fetch_retries=4 npm_config_fetch_retry_mintimeout=2000 npm_config_fetch_retry_maxtimeout=20000
export npm_config_fetch_timeout=60000 npm_config_update_notifier=false

# Folders whose package-lock.json is installed, where there is one.
npm_folders='sdk/js internal/e2e bench/socketio-node'

fail() { echo "setup: $*" >&2; exit 1; }

have_any() {
	local program
	for program in "$@"; do
		if command -v "$program" >/dev/null 2>&1; then return 0; fi
	done
	return 1
}

# as_root runs a command as root, and fails where it may not.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
	have_any apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# quietly shows a command's output only when it fails.
quietly() {
	local log status=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	if [ "$status" != 0 ]; then cat "$log" >&2; fi
	rm -f "$log"
	return "$status"
}

# bound prints what a command is run by so that it takes so many seconds at most.
bound() {
	if have_any timeout; then echo "timeout -k 30 $1"; fi
}

# again runs what asks the network, quietly, for so many seconds at most, and
# again where that fails: three times in all.
again() {
	local seconds=$1 try status
	shift
	for try in 1 2 3; do
		status=0
		quietly "$@" || status=$?
		if [ "$status" = 0 ]; then return 0; fi
		if [ "$status" = 124 ]; then echo "setup: it took more than $seconds s" >&2; fi
		echo "setup: attempt $try of 3 failed with status $status: $*" >&2
		if [ "$try" != 3 ]; then sleep $((try * 10)); fi
	done
	return 1
}

# A mirror may fail for a while, or have changed between the list of packages
# and the packages: both are fetched before anything is installed.
fetch_packages() {
	local net='-o Acquire::Retries=3 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60'
	as_root $(bound 300) $apt $net update || return
	as_root $(bound 900) $apt $net install -y --no-install-recommends --download-only "$@"
}

apt='env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600'

install_packages() {
	echo "setup: installing $* (Debian packages)"
	again 900 fetch_packages "$@" || fail "apt-get could not fetch: $*"
	keep_services_down
	quietly as_root $(bound 1200) $apt install -y --no-install-recommends "$@" || fail "apt-get install failed; needed: $*"
	let_services_start
}

# Packages of servers start them at once; the tests run nodes of their own. This
# is Debian's way to say no (invoke-rc.d(8)); where the machine has a policy already, that one holds.
policy=/usr/sbin/policy-rc.d
policy_is_ours=''

keep_services_down() {
	if [ -e "$policy" ]; then return; fi
	policy_is_ours=yes
	trap let_services_start EXIT
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
}

let_services_start() {
	if [ -n "$policy_is_ours" ]; then as_root rm -f "$policy"; fi
	policy_is_ours=''
}

# find_missing sets missing and packages for the rows that are asked for.
find_missing() {
	local name programs debian
	missing='' packages=''
	while IFS='|' read -r name programs debian; do
		name=${name// /}
		if [[ -n "$name" && " $* " == *" $name "* ]] && ! have_any $programs; then
			missing+=" $name" packages+=" $debian"
		fi
	done <<<"$needs"
}

setup_programs() {
	find_missing "$@"
	if [ -z "$missing" ]; then return; fi
	can_install || fail "missing:$missing; this script may not install here (it wants Debian's apt-get, and root or sudo without a password)"
	install_packages $packages
	hash -r
	find_missing "$@"
	if [ -n "$missing" ]; then fail "still missing after the installation:$missing"; fi
}

# setup_node puts a newer Node beside one that is too old.
setup_node() {
	local major arch folder=.cache/node
	major=$(node -p 'process.versions.node.split(".")[0]')
	if [ "$major" -ge "$node_major" ]; then return; fi
	arch=$(node -p 'process.platform + "-" + process.arch')
	echo "setup: node is version $major; installing node $node_version (npm package node-$arch)"
	mkdir -p "$folder" .cache/bin
	again 600 $(bound 600) npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save "node-$arch@$node_version" ||
		fail "missing: node $node_major or later"
	ln -sf "../node/node_modules/node-$arch/bin/node" .cache/bin/node
}

# setup_npm installs what a lock file lists, unless that has been done.
setup_npm() {
	local folder=$1 stamp="$1/node_modules/.polywire-lock"
	if [ ! -f "$folder/package-lock.json" ]; then return; fi
	if cmp -s "$folder/package-lock.json" "$stamp"; then return; fi
	echo "setup: installing the npm packages of $folder"
	(cd "$folder" && again 600 $(bound 600) npm ci --ignore-scripts --no-audit --no-fund) || fail "npm ci failed in $folder"
	mkdir -p "$folder/node_modules"
	cp "$folder/package-lock.json" "$stamp"
}

# setup_modules fetches the Go modules of all that is built here.
setup_modules() {
	local folder
	have_any go || fail "missing: go"
	for folder in . bench tools; do
		if [ ! -f "$folder/go.mod" ]; then continue; fi
		again 900 $(bound 900) go -C "$folder" mod download || fail "go mod download failed in $folder"
	done
}

setup_programs "${@:-$for_tests}"
if [[ " $* " == *" modules "* ]]; then setup_modules; fi
if [[ $# = 0 || " $* " == *" node "* ]]; then setup_node; fi
for folder in $npm_folders; do
	if [ $# = 0 ] || [[ " $* " == *" $folder "* ]]; then setup_npm "$folder"; fi
done
