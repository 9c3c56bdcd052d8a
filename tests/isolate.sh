# SPDX-License-Identifier: Apache-2.0
#
# Sourced: runs a command so that nothing of it outlives it, not even when it
# or its caller is killed.  With the right to, in a PID namespace: when its
# first process ends, the kernel ends the rest.  Without, in a session of its
# own that is killed afterwards.

ISOLATE_PREFIX="${TMPDIR:-/tmp}/penstock-test"
ISOLATE_SESSION=""

# isolate LIMIT_S COMMAND...: with $TEST_DIR, an empty directory that goes
# afterwards.  Returns the command's status; 124 when it took too long.
isolate()
{
	local limit_s=$1 dir status=0

	shift
	dir=$(mktemp -d "$ISOLATE_PREFIX.XXXXXX")
	# Whoever holds the lock is alive; all below inherit it.
	exec 8>"$dir/lock"
	flock 8
	if unshare --fork --pid --kill-child --mount-proc true 2>/dev/null; then
		# Each is told by the kernel when the one above it dies.
		TEST_DIR=$dir setpriv --pdeathsig KILL \
			timeout --foreground -k 5 "$limit_s" \
			setpriv --pdeathsig KILL \
			unshare --fork --pid --kill-child --mount-proc "$@" ||
			status=$?
	else
		TEST_DIR=$dir setsid timeout --foreground -k 5 "$limit_s" "$@" &
		ISOLATE_SESSION=$!
		wait $ISOLATE_SESSION || status=$?
		isolate_kill_all
	fi
	exec 8>&-
	if [ -n "${PENSTOCK_KEEP:-}" ]; then
		echo "kept: $dir" >&2
	else
		rm -rf "$dir"
	fi
	return $status
}

isolate_kill_all()
{
	[ -z "$ISOLATE_SESSION" ] || pkill -KILL -s "$ISOLATE_SESSION"
	ISOLATE_SESSION=""
}

# What a run that was killed has left: directories that nobody has locked, but
# none that is new: between making and locking one, another run may look.
isolate_clean_stale()
{
	local dir

	for dir in "$ISOLATE_PREFIX".*; do
		[ -d "$dir" ] || continue
		[ -n "$(find "$dir" -maxdepth 0 -mmin +1 2>/dev/null)" ] ||
			continue
		if [ -f "$dir/lock" ]; then
			flock -n "$dir/lock" true || continue
		fi
		[ -n "${PENSTOCK_KEEP:-}" ] || rm -rf "$dir"
	done
}
