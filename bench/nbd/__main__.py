# SPDX-License-Identifier: Apache-2.0
"""./run bench nbd: the NBD server's figures, each beside its bar.

How servers are started, how the machine's absence is told and how rounds are
made comes from bench/block; here are only the rows.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "..", "block"))

import driver  # noqa: E402
import report  # noqa: E402
import rows_nbd  # noqa: E402

ROWS = {
    "nullio": (rows_nbd.nullio, 20, 90),
    "sequential": (rows_nbd.sequential, 14, 60),
    "tmpfs": (rows_nbd.tmpfs, 8, 35),
    "tls": (rows_nbd.tls, 20, 90),
    "client": (rows_nbd.client, 20, 90),
}


def publish(found, skipped, command, context):
    report.publish_rows(
        "nbd", "NBD (`./run bench nbd`)",
        f"{report.measured(command)} Server alone on core 0, the polling "
        "client (`bench-nbd-load`, structured replies) on core 1, the same "
        "for all; interleaved rounds, median (lowest to highest). s/M: CPU "
        "seconds of the server for a million requests. Of the machine's "
        f"absence: {context.patience.text()}.",
        [row for name in ROWS for row in found.get(name, [])], skipped)


if __name__ == "__main__":
    sys.exit(driver.run(driver.Bench("nbd", ROWS, (1, 5), publish)))
