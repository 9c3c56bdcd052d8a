#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The example configuration is one that works, word for word but for its paths.
. "$(dirname "$0")/../lib.sh"

"$BIN/penstockd" --check --config "$ROOT/examples/host.yaml"
mkdir srv
truncate -s 10G srv/d0.img
sed -e "s,/var/lib/penstock,$TEST_DIR," -e "s,/run/penstock,$TEST_DIR," \
	-e "s,/srv/penstock,$TEST_DIR/srv," -e 's/alpha.sock/api.sock/' \
	"$ROOT/examples/host.yaml" >alpha.yaml
penstockd_start
equal "db backup" "$(ask '[.[].name] | join(" ")' process list)" "processes"
p process add 3 --vdev vd1 --sla 'iops >= 300, latency <= 5 ms'
equal 800 "$(ask '.[0].combined.iops' device list)" "combined over the device"
penstockd_stop
