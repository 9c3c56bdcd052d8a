# SPDX-License-Identifier: Apache-2.0
#
# Sourced: wait_for, the one place that polls, for conditions that nobody
# announces.  Needs $TEST_DIR.  $BEAT_FD is a FIFO that nobody writes to.
#
# A limit is for what is broken, and given for a machine that is all ours; where
# cores are shared or taken away everything takes longer: it is multiplied.
PATIENCE=${PATIENCE:-4}

mkfifo "$TEST_DIR/beat"
exec {BEAT_FD}<>"$TEST_DIR/beat"

# wait_for LIMIT_S COMMAND...: until it succeeds.
wait_for()
{
	local end=$((SECONDS + $1 * PATIENCE)) nothing

	shift
	until "$@"; do
		[ $SECONDS -le $end ] || return 1
		# Nothing is ever there: it fails when its time has passed.
		read -r -t 0.02 -u "$BEAT_FD" nothing || true
	done
}
