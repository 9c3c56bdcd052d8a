#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# penstock pool check on files: what it says, repairs, refuses, and with which
# exit status (issue 3).  pool-check.sh PENSTOCK POOL-MAKE
set -eu
PENSTOCK=$(realpath "$1")
MAKE=$(realpath "$2")
. "$(dirname "$(realpath "$0")")/command.sh"
DIR=$(mktemp -d /tmp/penstock-check-XXXXXX)
trap 'rm -rf "$DIR"' EXIT
cd "$DIR"
export PENSTOCK_API="$DIR/nobody.sock"

# check STATUS ARGUMENT...
check()
{
	command_run "$1" "$PENSTOCK" pool check "${@:2}"
}

says()
{
	cat out err | grep -qF -- "$1" || {
		cat out err
		fail "does not say '$1'"
	}
}

# flip FILE OFFSET: another byte than before.
flip()
{
	local byte

	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\x$(printf %02x $((byte ^ 64)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

command -v jq >/dev/null || { echo "jq is not installed"; exit 77; }
truncate -s 64M one two blank
"$MAKE" "$DIR/one" "$DIR/two"

# --- In order -----------------------------------------------------------------
check 0 one two
says 'one: device d001'
says 'in order'
check 0 ./two "$DIR/one" --json
jq -e '.wrong == 0 and (.devices | length) == 2 and
	([.devices[].mapped] | add) == 8' out >/dev/null || fail "not so: $(cat out)"

# --- Damaged ------------------------------------------------------------------
cp one saved
flip one 45
flip one $((4096 + 30))
check 1 one two
says 'one: copy 1 of the superblock (at byte 0) has a wrong checksum: the other is used [--repair writes it anew]'
says 'one: copy A of block 0 of the log (at byte 4096) is damaged'
says '2 things are not in order, 0 of them repaired'
check 1 one two --json
jq -e '.wrong == 2 and .findings[0].repairable and .findings[0].device == "one"
	and (.findings[0].repaired | not)' out >/dev/null || fail "not so: $(cat out)"
check 1 --repair one two
says '[repaired]'
says '2 things are not in order, 2 of them repaired'
check 0 one two
cmp one saved || fail "what was repaired is not what was there"

# --- Both copies: refused, nothing invented ------------------------------------
cp one damaged
# The superblock says how long an area is; copy B comes after both of copy A.
AREA=$(od -An -tu4 -j 80 -N 4 one)
flip damaged $((4096 + 30))
flip damaged $((4096 + 2 * AREA * 4096 + 30))
check 1 --repair damaged two
says 'block 0 of its log is damaged in both copies'
says 'cannot be looked at or was not named'

# --- Not together ---------------------------------------------------------------
check 1 one
says 'was not named: name all devices of the pool'
cp one clone
check 1 one two clone
says 'clone: it is a copy of one'
truncate -s 40M clone
check 1 clone two
says 'clone: it has 41943040 bytes and needs'
says 'it was shrunk'
check 1 blank
says 'blank: it is blank'
head -c 2000000 /dev/urandom >noise
truncate -s 64M noise
check 1 noise
says 'noise: it holds'

# --- Refused ------------------------------------------------------------------
exec 9<one
flock -n 9
check 1 one two
says 'an endpoint has it'
flock -u 9
check 1 ./nothing
says './nothing: No such file'
check 1 nothing
says 'nobody.sock'
check 2
check 2 --repair
echo passed
