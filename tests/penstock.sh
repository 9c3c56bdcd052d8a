# SPDX-License-Identifier: Apache-2.0
#
# Sourced: penstockd and its command line, for scripts.  The configuration is
# $TEST_DIR/alpha.yaml; everything else is beside it.  Needs $BIN, fail().

export PENSTOCK_API="$TEST_DIR/api.sock"
PENSTOCKD_PID=""

# penstock_config TEXT: what follows "host", "state" and "api".
penstock_config()
{
	cat >"$TEST_DIR/alpha.yaml" <<-EOF
	host: alpha
	state: $TEST_DIR/state
	api: {unix: $TEST_DIR/api.sock}
	$1
	EOF
}

# A process for penstock_disk.
DB_PROCESS="{pasid: 1, name: db, vdev: vd0, sla: {iops: '>= 200', latency: '<= 50 ms'}}"

# penstock_disk FILE-MIB VDEV-MIB [FIELDS [PROCESS]]: the configuration of one
# vdev, vd0, on a file; with these fields more ("queues: 4, "), and this process.
penstock_disk()
{
	local file_mib=$1 vdev_mib=$2 fields=${3:-} process=${4:-}

	truncate -s "${file_mib}M" "$TEST_DIR/disk.img"
	penstock_config "
endpoints:
  - {name: ep0, devices: [{name: d0, kind: file, path: $TEST_DIR/disk.img, size: ${file_mib}MiB}]}
pools: [{name: main, devices: [ep0/d0]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: main, size: ${vdev_mib}MiB, ${fields}vhost-user: $TEST_DIR/vd0.sock}
${process:+processes: [$process]}
"
}

p()
{
	"$BIN/penstock" "$@"
}

# ask JQ-EXPRESSION COMMAND...: of its --json.
ask()
{
	local expression=$1

	shift
	p "$@" --json | jq -r "$expression"
}

# holds JQ-EXPRESSION COMMAND...: it is true; for wait_for.
holds()
{
	local expression=$1

	shift
	# jq -e takes no input for a yes.
	[ "$(p "$@" --json 2>/dev/null | jq "$expression" 2>/dev/null)" = true ]
}

# penstockd_start: until every vdev is served.
penstockd_start()
{
	"$BIN/penstockd" --config "$TEST_DIR/alpha.yaml" "$@" \
		>>"$TEST_DIR/penstockd.log" 2>&1 &
	PENSTOCKD_PID=$!
	if ! wait_for 30 penstockd_serves; then
		p status || echo "penstock status: $?"
		tail -n 20 "$TEST_DIR/penstockd.log"
		fail "penstockd does not serve after $((30 * PATIENCE)) s"
	fi
}

penstockd_serves()
{
	kill -0 "$PENSTOCKD_PID" 2>/dev/null || {
		tail -n 20 "$TEST_DIR/penstockd.log"
		fail "penstockd ended"
	}
	holds 'length > 0 and all(.state == "serving")' vdev list &&
		holds 'all(.state == "ready" or .state == "leaving" or .state == "failed")' device list
}

# penstockd_stop: in order; it says 0.
penstockd_stop()
{
	local status=0

	kill -TERM "$PENSTOCKD_PID"
	wait "$PENSTOCKD_PID" || status=$?
	[ $status = 0 ] || fail "penstockd ended with $status after SIGTERM"
}

endpoint_pid()
{
	ask ".endpoints[] | select(.name == \"${1:-ep0}\") | .pid" status
}

# process_field PASID EXPRESSION
process_field()
{
	ask ".[] | select(.pasid == $1) | $2" process list
}

# wait_event LIMIT_S JQ-CONDITION [AFTER]: until an event (after number AFTER,
# or any that is remembered) is such, '.kind == "no-space"'.
wait_event()
{
	local condition=$2 limit_s=$(($1 * PATIENCE)) after=${3:-0}

	grep -q -m1 true < <(timeout "$limit_s" "$BIN/penstock" events --json \
		--after "$after" | jq --unbuffered "$condition")
}
