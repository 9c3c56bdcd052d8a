# SPDX-License-Identifier: Apache-2.0
#
# Sourced: wait_for, the one place that polls, for conditions that nobody
# announces.  Needs $TEST_DIR.  $BEAT_FD is a FIFO that nobody writes to.

mkfifo "$TEST_DIR/beat"
exec {BEAT_FD}<>"$TEST_DIR/beat"

# wait_for LIMIT_S COMMAND...: until it succeeds.
wait_for()
{
	local end=$((SECONDS + $1)) nothing

	shift
	until "$@"; do
		[ $SECONDS -le $end ] || return 1
		read -r -t 0.02 -u "$BEAT_FD" nothing || true
	done
}
