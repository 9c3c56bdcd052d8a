#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The client end against qemu-storage-daemon: data written is read back, with
# direct and indirect descriptors, polling and sleeping.
# usage: vhost-client-qsd.sh BENCH-LOAD
set -eu

load=$1
command -v qemu-storage-daemon >/dev/null ||
	{ echo "skipped: qemu-storage-daemon is not installed"; exit 77; }

dir=$(mktemp -d)
qsd=""
# Not TERM: version 7.2 may stay when a client has just left.  If it has ended
# by itself the load's failure says so, and the directory goes all the same.
trap '[ -z "$qsd" ] || kill -KILL "$qsd" || true; rm -r "$dir"' EXIT
truncate -s 64M "$dir/disk"
qemu-storage-daemon --daemonize --pidfile "$dir/pid" \
	--object iothread,id=io0 \
	--blockdev "driver=file,node-name=f0,filename=$dir/disk" \
	--export "type=vhost-user-blk,id=e0,node-name=f0,addr.type=unix,addr.path=$dir/socket,writable=on,num-queues=2,iothread=io0"
qsd=$(cat "$dir/pid")

job=socket=$dir/socket,read=50,verify,depth=16
"$load" --duration 0.3 --warmup 0.1 "$job"
"$load" --duration 0.3 --warmup 0.1 --sleep "$job,event-index,indirect"
"$load" --duration 0.3 --warmup 0.1 --sleep "$job,span=33554432" \
	"$job,offset=33554432,bs=65536,indirect"
