#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./run bench nbd: the NBD server against nbdkit, qemu-storage-daemon and a bare
# socket in the same run.  Options: --quick, --only ROW,...; see bench/nbd/.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -B bench/nbd "$@"
