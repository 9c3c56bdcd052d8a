# SPDX-License-Identifier: Apache-2.0
#
# Sourced: QEMU guests, spoken to over FIFOs.  A guest runs tests/guest/init;
# commands go in and answers come out as lines, "ID TEXT" and "ID = STATUS".
# Needs $ROOT, $TEST_DIR, $PATIENCE, fail().

GUEST_MEMORY_MB=${GUEST_MEMORY_MB:-128}
declare -A GUEST_PID GUEST_IN GUEST_OUT QMP_IN QMP_OUT

# guest_start NAME [-n NICE] [-c CPUS] [-q QUEUES] [-u UID:GID] SOCKET...
#	[-- QEMU OPTION...]
# Disks are vda, vdb, ... in the order of the sockets.  Does not wait.
guest_start()
{
	local name=$1 queues=1 nice=0 cpus=1 dir disk=0 disks=() fifo fd
	local owner="" as=()

	shift
	while :; do
		case ${1:-} in
		-n) nice=$2; shift 2 ;;
		-c) cpus=$2; shift 2 ;;
		-q) queues=$2; shift 2 ;;
		-u) owner=$2; shift 2 ;;
		*) break ;;
		esac
	done
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		disks+=(-chardev "socket,id=vb$disk,path=$1,reconnect=1"
			-device "vhost-user-blk-pci,id=disk$disk,chardev=vb$disk,num-queues=$queues")
		disk=$((disk + 1))
		shift
	done
	[ "${1:-}" != -- ] || shift
	dir="$TEST_DIR/guest-$name"
	mkdir -p "$dir"
	for fifo in command.in command.out qmp.in qmp.out; do
		rm -f "$dir/$fifo"
		mkfifo "$dir/$fifo"
	done
	if [ -n "$owner" ]; then
		as=(setpriv --reuid "${owner%:*}" --regid "${owner#*:}"
			--clear-groups)
		: >"$dir/console"
		chown -R "$owner" "$dir"
	fi
	# Open for both directions: neither end waits for the other.
	exec {fd}<>"$dir/command.in"; GUEST_IN[$name]=$fd
	exec {fd}<>"$dir/command.out"; GUEST_OUT[$name]=$fd
	exec {fd}<>"$dir/qmp.in"; QMP_IN[$name]=$fd
	exec {fd}<>"$dir/qmp.out"; QMP_OUT[$name]=$fd
	# A file: numbers are also given out in subshells.
	echo 0 >"$dir/next"
	"${as[@]}" nice -n "$nice" qemu-system-x86_64 \
		-nodefaults -no-user-config -display none -no-reboot \
		-machine q35,accel=tcg,memory-backend=mem0 \
		-m "$GUEST_MEMORY_MB" -smp "$cpus" -object \
		"memory-backend-memfd,id=mem0,size=${GUEST_MEMORY_MB}M,share=on" \
		-kernel "$ROOT/build/guest/vmlinuz" \
		-initrd "$ROOT/build/guest/initramfs" -append \
		"console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check" \
		-serial "file:$dir/console" \
		-device virtio-serial-pci \
		-chardev "pipe,id=command,path=$dir/command" \
		-device virtserialport,chardev=command,name=command \
		-chardev "pipe,id=qmp,path=$dir/qmp" -mon chardev=qmp,mode=control \
		"${disks[@]}" "$@" >"$dir/qemu.log" 2>&1 &
	GUEST_PID[$name]=$!
}

# guest_ready NAME [LIMIT_S]: until init runs.
guest_ready()
{
	guest_wait "$1" 0 "${2:-60}" ready >/dev/null ||
		fail "guest $1 did not start"
}

# guest_describe NAME: why does it not answer?
guest_describe()
{
	# As much of it as there is: the failure that is explained counts, none
	# of these.
	tail -n 20 "$TEST_DIR/guest-$1/qemu.log" "$TEST_DIR/guest-$1/console" \
		"$TEST_DIR"/*.log || true
	! declare -F p >/dev/null || { p vdev list && p device list; } || true
	cat /proc/loadavg
	kill -0 "${GUEST_PID[$1]}" 2>/dev/null || return 0
	# In a subshell: what it says may be that QEMU does not answer either.
	(qmp "$1" qmp_capabilities && qmp "$1" query-status &&
		qmp "$1" query-chardev) || true
}

# guest_spawn NAME COMMAND: start it; its number is in $GUEST_ID.
guest_spawn()
{
	local name=$1 next="$TEST_DIR/guest-$1/next"

	shift
	GUEST_ID=$(($(cat "$next") + 1))
	echo $GUEST_ID >"$next"
	# One line, however it was written.
	printf '%s %s\n' "$GUEST_ID" "$(printf '%s' "$*" | tr '\n\t' '  ')" >&"${GUEST_IN[$name]}"
}

# guest_take NAME LIMIT_S: the next line that it says, noted in its log; in
# $GUEST_SAID the command's number and in $GUEST_LINE the text.
guest_take()
{
	local log="$TEST_DIR/guest-$1/log"

	IFS=' ' read -r -t "$2" -u "${GUEST_OUT[$1]}" GUEST_SAID GUEST_LINE ||
		return 1
	case $GUEST_LINE in
	'= '*) echo "${GUEST_LINE#= }" >"$log.$GUEST_SAID.status" ;;
	*) printf '%s\n' "$GUEST_LINE" >>"$log.$GUEST_SAID" ;;
	esac
}

# guest_wait NAME ID LIMIT_S [PATTERN]: until command ID has ended (or has said
# a line that begins so; "" is any).  Prints what it said since the last
# time; returns its status, 124 when it took too long, 125 when QEMU is gone.
guest_wait()
{
	local name=$1 id=$2 pattern=${4-=} log="$TEST_DIR/guest-$1/log.$2"
	local end=$((SECONDS + $3 * PATIENCE))

	[ ! -f "$log" ] || { cat "$log"; : >"$log"; }
	while [ ! -f "$log.status" ]; do
		if [ $SECONDS -gt $end ]; then
			guest_describe "$name" >&2
			return 124
		fi
		if ! guest_take "$name" 1; then
			kill -0 "${GUEST_PID[$name]}" 2>/dev/null && continue
			wait "${GUEST_PID[$name]}" || echo "QEMU ended: $?" >&2
			guest_describe "$name" >&2
			return 125
		fi
		[ "$GUEST_SAID" = "$id" ] || continue
		[ ! -f "$log" ] || { cat "$log"; : >"$log"; }
		# shellcheck disable=SC2254
		case $GUEST_LINE in
		'= '*) ;;
		$pattern*) return 0 ;;
		esac
	done
	return "$(cat "$log.status")"
}

# guest_works NAME ID LIMIT_S: until guest-io ID, which reports, has done
# requests from now on: neither what was said before counts nor the first
# report, which may be of before.
guest_works()
{
	while guest_take "$1" 0.01; do :; done
	guest_wait "$1" "$2" "$3" 'report name=* iops=[1-9]' >/dev/null &&
		guest_wait "$1" "$2" "$3" 'report name=* iops=[1-9]'
}

# guest_run NAME LIMIT_S COMMAND: start, wait, print, status.
guest_run()
{
	local name=$1 limit_s=$2

	shift 2
	guest_spawn "$name" "$*"
	guest_wait "$name" "$GUEST_ID" "$limit_s"
}

# guest_load NAME ARGUMENT...: guest-io, which must report; until it does the
# first time.  Its number is in $GUEST_ID.
guest_load()
{
	local name=$1

	shift
	guest_spawn "$name" guest-io "$@"
	guest_wait "$name" "$GUEST_ID" 20 report >/dev/null ||
		fail "guest-io does not report: $?"
}

# guest_stop NAME: power off, and wait for QEMU to end.
guest_stop()
{
	guest_spawn "$1" 'sync; poweroff -f'
	wait "${GUEST_PID[$1]}" || echo "QEMU of guest $1 ended: $?" >&2
}

# qmp NAME COMMAND [ARGUMENTS JSON]: prints the reply; fails on an error.
qmp()
{
	local name=$1 line

	printf '{"execute": "%s"%s}\n' "$2" "${3:+, \"arguments\": $3}" \
		>&"${QMP_IN[$name]}"
	while IFS= read -r -t $((30 * PATIENCE)) -u "${QMP_OUT[$name]}" line
	do
		case $line in
		*'"error":'*) printf '%s\n' "$line"; return 1 ;;
		*'"return":'*) printf '%s\n' "$line"; return 0 ;;
		*'"event":'*) printf '%s\n' "$line" \
			>>"$TEST_DIR/guest-$name/events" ;;
		esac
	done
	fail "qmp $2: guest $name does not answer"
}

# qmp_event NAME LIMIT_S PATTERN: until an event has come that matches.
qmp_event()
{
	local name=$1 pattern=$3 line events
	local end=$((SECONDS + $2 * PATIENCE))

	events="$TEST_DIR/guest-$name/events"
	touch "$events"
	until grep -q "$pattern" "$events"; do
		[ $SECONDS -le $end ] || return 124
		IFS= read -r -t 1 -u "${QMP_OUT[$name]}" line || continue
		printf '%s\n' "$line" >>"$events"
	done
}

# guest_moved FROM TO: the guest of QEMU FROM goes on in QEMU TO; its running
# commands are waited for there.
guest_moved()
{
	local file

	# What it said before it moved.
	while guest_take "$1" 0.1; do :; done
	for file in "$TEST_DIR/guest-$1"/log.*; do
		[ ! -f "$file" ] || cp "$file" "$TEST_DIR/guest-$2/"
	done
	cp "$TEST_DIR/guest-$1/next" "$TEST_DIR/guest-$2/next"
}

# guest_kill NAME: QEMU ends at once.
guest_kill()
{
	kill -KILL "${GUEST_PID[$1]}"
	# 137, or its own status if it had ended by itself.
	wait "${GUEST_PID[$1]}" 2>/dev/null || true
}
