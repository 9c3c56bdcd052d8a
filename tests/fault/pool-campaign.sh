#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An endpoint that serves a pool's volumes is killed at random instants, under
# load, while volumes are made, resized, kept and deleted: no acknowledged write
# is lost, nothing leaks, and 'penstock pool check' finds all in order each time.
#
# usage: pool-campaign.sh [KILLS [SEED]]; by hand with 10000, TEST_LIMIT_S=7200
. "$(dirname "$0")/../lib.sh"

"$ROOT/build/tests/fault/pool-campaign" "$BIN/penstock-endpoint" \
	"$BIN/penstock" "${1:-300}" "${2:-$RANDOM}"
