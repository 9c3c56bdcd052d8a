#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./run bench block: this project's block service against qemu-storage-daemon
# in the same run.  Options: --quick, --only ROW,...; see bench/block/.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -B bench/block "$@"
