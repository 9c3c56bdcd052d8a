#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ./run bench pool: thin against thick, first writes, and the start of a large
# pool.  Options: --quick, --only ROW,...; see bench/pool/.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -B bench/pool "$@"
