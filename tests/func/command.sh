# SPDX-License-Identifier: Apache-2.0
#
# Sourced: runs one command, again and again, and looks at its exit status and
# at what it says, which is in the files out and err of this directory.

# fail TEXT...: with what the last run said.
fail()
{
	printf 'FAILED: %s\n' "$*"
	printf -- '-- out:\n'; cat out
	printf -- '-- err:\n'; cat err
	exit 1
}

# command_run STATUS COMMAND ARGUMENT...: its exit status; an error is one line.
command_run()
{
	local wanted=$1 status=0

	shift
	timeout 20 "$@" >out 2>err </dev/null || status=$?
	[ $status = "$wanted" ] || fail "$*: $status instead of $wanted"
	[ "$wanted" = 0 ] || [ "$(wc -l <err)" = 1 ] ||
		fail "$*: not one line of error"
}
