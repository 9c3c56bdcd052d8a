# SPDX-License-Identifier: Apache-2.0
"""./run bench block: every figure that was asked for, beside its bar.

Start reading at ROWS; rows.py and promises.py measure, servers.py starts what
is measured, driver.py goes through the rows, report.py writes the table.
"""
import sys

import driver
import limits
import promises
import report
import rows

ROWS = {
    "nullio": (rows.nullio, 8, 36),
    "single": (rows.single, 14, 60),
    "memory": (rows.memory, 15, 78),
    "tmpfs": (rows.tmpfs, 11, 42),
    "enforcement": (rows.enforcement, 16, 120),
    "instructions": (rows.instructions, 10, 10),
    "limits": (limits.limits, 26, 150),
    "neighbours": (rows.neighbours, 6, 30),
    "promises": (promises.modelled, 29, 52),
    "file": (promises.real_file, 33, 57),
    "replay": (promises.replay, 25, 75),
    "scheduler": (rows.scheduler, 12, 60),
}

if __name__ == "__main__":
    sys.exit(driver.run(driver.Bench(
        "block", ROWS, (2, 15), report.write, replays=True)))
