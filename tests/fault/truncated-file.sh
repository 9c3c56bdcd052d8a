#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A backing file that is cut short under load: its own guest gets errors, a
# guest on another device notices nothing, the endpoint lives; when the file is
# whole again so is the disk.
. "$(dirname "$0")/../lib.sh"

truncate -s 128M bad.img
truncate -s 128M good.img
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: bad, kind: file, path: $TEST_DIR/bad.img, size: 128MiB}
      - {name: good, kind: file, path: $TEST_DIR/good.img, size: 128MiB}
pools: [{name: p0, devices: [ep0/bad]}, {name: p1, devices: [ep0/good]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: p0, size: 96MiB, vhost-user: $TEST_DIR/vd0.sock}
  - {name: vd1, endpoint: ep0, pool: p1, size: 96MiB, vhost-user: $TEST_DIR/vd1.sock}
processes:
  - {pasid: 1, name: bad, vdev: vd0, sla: {iops: '>= 100'}}
  - {pasid: 2, name: good, vdev: vd1, sla: {iops: '>= 100'}}
"
penstockd_start
endpoint=$(endpoint_pid)
guest_start a -c 2 "$TEST_DIR/vd0.sock" "$TEST_DIR/vd1.sock"
guest_ready a
# What was never written is not read from the file.
guest_run a 60 dd if=/dev/zero of=/dev/vda bs=1M seek=32 count=32 \
	oflag=direct 2>/dev/null || fail "no space is taken"
whole=$(stat -c %s bad.img)
guest_load a /dev/vdb name=good depth=4 report-ms=250
good=$GUEST_ID
guest_load a /dev/vda name=bad depth=4 read=100 offset=32M size=32M \
	report-ms=250 verify=no
bad=$GUEST_ID

truncate -s 12M bad.img
guest_wait a "$bad" 20 error || fail "the guest was told of no error"
guest_works a "$good" 20 || fail "the other guest noticed"
[ "$(process_field 1 .counters.read.errors)" -gt 0 ] || fail "errors not counted"
equal 0 "$(process_field 2 '.counters.read.errors + .counters.write.errors')" \
	"errors of the other guest"
equal "$endpoint" "$(endpoint_pid)" "endpoint"

truncate -s "$whole" bad.img
guest_run a 10 killall guest-io
guest_wait a "$good" 60 || fail "the other guest's data"
# It was told of errors, so it ends with one.
expect 1 guest_wait a "$bad" 60 >/dev/null
guest_run a 30 guest-io /dev/vda offset=32M size=16M seconds=1 ||
	fail "the disk did not come back"
guest_stop a
penstockd_stop
