#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# penstockd's options, and what it says of a configuration before it does
# anything: one line, "FILE:LINE: reason", status 2; nothing is left behind.
# penstockd-options.sh PENSTOCKD
set -eu
PENSTOCKD=$(realpath "$1")
. "$(dirname "$(realpath "$0")")/command.sh"
DIR=$(mktemp -d /tmp/penstock-options-XXXXXX)
trap 'rm -rf "$DIR"' EXIT
cd "$DIR"

# run STATUS ARGUMENT...
run()
{
	command_run "$1" "$PENSTOCKD" "${@:2}"
}

# is FILE TEXT: one of its lines.
is()
{
	grep -qxF -- "$2" "$1" || fail "$1 does not say '$2'"
}

# refused REASON: the configuration on standard input, with and without --check.
refused()
{
	cat >c.yaml
	run 2 --config c.yaml --check
	is err "$1"
	run 2 --config c.yaml
	is err "$1"
	[ ! -e state ] || fail "a wrong configuration made the state directory"
}

run 0 --help
is out 'usage: penstockd --config FILE [--check] [--endpoint-user NAME]'
run 0 --version
grep -q '^penstockd [0-9]' out || fail "no version"
run 2
is err "penstockd: --config FILE is missing: see 'penstockd --help'"
run 2 --nonsense
is err "penstockd: --nonsense is not known, or lacks its value: see 'penstockd --help'"
run 2 --config
run 2 --config c.yaml more
run 1 --config nowhere.yaml
is err 'nowhere.yaml: No such file or directory'

refused 'c.yaml:3: the configuration has no key '\''hosst'\''; there are: host, state, headroom, session-hold, api, audit, socket, endpoints, pools, vdevs, processes, slas, hosts, uplinks' <<-EOF
	host: a
	state: $DIR/state
	hosst: b
EOF
# What only this machine can tell.
cpus=$(getconf _NPROCESSORS_CONF)
refused "c.yaml:5: endpoint 'ep1': there is no CPU $cpus: this machine has 0 to $((cpus - 1))" <<-EOF
	host: a
	state: $DIR/state
	endpoints:
	  - {name: ep0, cpu: 0}
	  - {name: ep1, cpu: $cpus}
EOF
refused "c.yaml:4: there is no user 'no-such-user' on this host" <<-EOF
	host: a
	state: $DIR/state
	api:
	  roles: {read: [no-such-user]}
EOF
cat >c.yaml <<-EOF
	host: a
	state: $DIR/state
EOF
run 1 --config c.yaml --check --endpoint-user no-such-user
is err "penstockd: --endpoint-user: there is no user 'no-such-user' on this host"

# The whole contract is in order; what comes later is said.
cat >c.yaml <<-EOF
	host: a
	state: $DIR/state
	endpoints:
	  - {name: ep0, devices: [{name: d0, kind: vhost-user, path: "/b/x"}]}
	uplinks: [{name: up0, dev: eth0}]
EOF
run 0 --config c.yaml --check
is out 'c.yaml: in order'
is err "c.yaml:4: not served by this version: device 'd0': kind 'vhost-user'"
is err "c.yaml:5: not served by this version: uplink 'up0'"
[ ! -e state ] || fail "--check made the state directory"
echo "penstockd's options: everything is as it should be"
