# SPDX-License-Identifier: Apache-2.0
"""./run bench pool: what volumes cost, each figure beside its bar.

As bench/nbd: here are only the rows.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "..", "block"))

import driver  # noqa: E402
import report  # noqa: E402
import rows_pool  # noqa: E402

ROWS = {
    "thin": (rows_pool.thin, 8, 30),
    "first": (rows_pool.first_writes, 8, 20),
    "start": (rows_pool.start, 6, 18),
}


def publish(found, skipped, command, context):
    report.publish_rows(
        "pool", "Pools (`./run bench pool`)",
        f"{report.measured(command)} Server alone on core 0, the polling "
        "client (`bench-load`) on core 1; interleaved rounds, median (lowest "
        "to highest). s/M: CPU seconds of the server for a million requests. "
        f"Of the machine's absence: {context.patience.text()}.",
        [row for name in ROWS for row in found.get(name, [])], skipped)


if __name__ == "__main__":
    sys.exit(driver.run(driver.Bench("pool", ROWS, (1, 5), publish)))
