# SPDX-License-Identifier: Apache-2.0
#
# Sourced by every script in tests/e2e and tests/fault, first thing.
# A script passes with 0, is skipped with 77 and a reason on its last line,
# fails with anything else.  It works in $TEST_DIR, and whatever it starts is
# ended after it (tests/isolate.sh).  Nothing sleeps: wait for the event.
set -eu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN="$ROOT/build/bin"

if [ -z "${TEST_DIR:-}" ]; then
	. "$ROOT/tests/isolate.sh"
	isolate_clean_stale
	status=0
	isolate "${TEST_LIMIT_S:-600}" "$0" "$@" || status=$?
	exit $status
fi
cd "$TEST_DIR"

. "$ROOT/tests/wait.sh"
. "$ROOT/tests/penstock.sh"
. "$ROOT/tests/guest/guest.sh"

fail()
{
	printf 'FAILED: %s\n' "$*"
	exit 1
}

skip()
{
	printf '%s\n' "$*"
	exit 77
}

note()
{
	printf '%s %s\n' "-- $SECONDS s:" "$*"
}

# expect STATUS COMMAND...: its exit status is this one.
expect()
{
	local wanted=$1 status=0

	shift
	"$@" || status=$?
	[ "$status" = "$wanted" ] ||
		fail "exit status $status instead of $wanted: $*"
}

# equal WANTED HAVE WHAT
equal()
{
	[ "$1" = "$2" ] || fail "$3: '$2' instead of '$1'"
}

# killed PID: a child of ours is killed at this instant, and that is what it
# dies of.
killed()
{
	kill -9 "$1"
	expect 137 wait "$1"
}
