#!/usr/bin/env bash
# Installs what the tests need beyond Go: Debian packages for programs that are
# missing, npm packages for every lock file. Quick when all is there. Where it
# cannot install, it says in one line what is missing.
#
#   scripts/setup.sh            everything that the tests need
#   scripts/setup.sh NEED...    only these: rows of the table, folders with npm packages
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

install_packages() {
	local apt='env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600'
	echo "setup: installing $* (Debian packages)"
	quietly as_root $apt update || fail "apt-get update failed; needed: $*"
	keep_services_down
	quietly as_root $apt install -y --no-install-recommends "$@" || fail "apt-get install failed; needed: $*"
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
	quietly npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save "node-$arch@$node_version" ||
		fail "missing: node $node_major or later"
	ln -sf "../node/node_modules/node-$arch/bin/node" .cache/bin/node
}

# setup_npm installs what a lock file lists, unless that has been done.
setup_npm() {
	local folder=$1 stamp="$1/node_modules/.polywire-lock"
	if [ ! -f "$folder/package-lock.json" ]; then return; fi
	if cmp -s "$folder/package-lock.json" "$stamp"; then return; fi
	echo "setup: installing the npm packages of $folder"
	(cd "$folder" && quietly npm ci --ignore-scripts --no-audit --no-fund) || fail "npm ci failed in $folder"
	mkdir -p "$folder/node_modules"
	cp "$folder/package-lock.json" "$stamp"
}

setup_programs "${@:-$for_tests}"
if [[ $# = 0 || " $* " == *" node "* ]]; then setup_node; fi
for folder in $npm_folders; do
	if [ $# = 0 ] || [[ " $* " == *" $folder "* ]]; then setup_npm "$folder"; fi
done
