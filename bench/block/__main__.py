# SPDX-License-Identifier: Apache-2.0
"""./run bench block: every figure that was asked for, beside its bar.

Start reading at ROWS; rows.py and promises.py measure, servers.py starts what
is measured, report.py writes the table.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import limits
import promises
import report
import rows
from servers import PRIORITY, Missing

# What measures them, and how many seconds that takes: --quick, and without.
ROWS = {
    "nullio": (rows.nullio, 8, 36),
    "single": (rows.single, 14, 60),
    "memory": (rows.memory, 15, 78),
    "tmpfs": (rows.tmpfs, 11, 42),
    "enforcement": (rows.enforcement, 16, 77),
    "instructions": (rows.instructions, 10, 10),
    "limits": (limits.limits, 26, 150),
    "neighbours": (rows.neighbours, 6, 30),
    "promises": (promises.modelled, 29, 52),
    "file": (promises.real_file, 33, 57),
    "replay": (promises.replay, 25, 75),
    "scheduler": (rows.scheduler, 12, 60),
}


def minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def main():
    parser = argparse.ArgumentParser(prog="bench/block.sh")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter rounds")
    parser.add_argument("--only", metavar="ROW,...",
                        help="of: " + ", ".join(ROWS))
    parser.add_argument("--trace", metavar="FILE",
                        default="../shared/data/vm-block-trace.csv",
                        help="what is replayed (%(default)s)")
    parser.add_argument("--realtime", action="store_true",
                        help="servers and client at real-time priority, for "
                        "a machine that others use too")
    parser.add_argument("--patience", metavar="MINUTES", type=float,
                        help="for how long in all to wait while others take "
                        "the machine away, and to measure again (15, with "
                        "--quick 2; 0: not at all); as --patience=MINUTES "
                        "after ./run")
    parser.add_argument("--dry", action="store_true",
                        help="don't write docs/benchmarks.md")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"no row '{unknown[0]}'; there are: {', '.join(ROWS)}")
    if (os.cpu_count() or 1) < 2:
        print("bench block: needs two cores, one for the server")
        return 77

    if options.realtime:
        PRIORITY.extend(["chrt", "-f", "1"])
    command = ("./run bench block" + " --quick" * options.quick +
                                     " --realtime" * options.realtime)
    if options.patience is None:
        options.patience = 2 if options.quick else 15
    else:
        command += f" --patience={options.patience:g}"
    context = rows.Context(options.quick, options.trace, options.patience * 60)
    found, skipped, started = {}, {}, time.monotonic()
    left = [ROWS[name][1 if options.quick else 2] for name in names]
    print(f"-- {len(names)} rows, about {minutes(sum(left))}; at most "
          f"{minutes(options.patience * 60)} more if others take the machine "
          "away (~)", flush=True)
    for i, name in enumerate(names):
        print(f"-- {name} ({i + 1} of {len(names)}; "
              f"{minutes(time.monotonic() - started)} so far, "
              f"about {minutes(sum(left[i:]))} left) ", end="", flush=True)
        context.patience.share(left[i] / sum(left[i:]))
        try:
            found[name] = ROWS[name][0](context)
            print()
            report.print_rows(found[name])
        except (Missing, subprocess.SubprocessError) as error:
            skipped[name] = str(error)
            print(f"\n    not measured: {error}", flush=True)
    met = [row.met for some in found.values() for row in some]
    print(f"-- machine: {context.patience.text()}")
    print(f"-- {met.count(True)} bars met, {met.count(False)} not, "
          f"{len(skipped)} not measured, "
          f"{time.monotonic() - started:.0f} s")
    with open("build/bench-block.json", "w") as file:
        json.dump({name: [vars(row) for row in some]
                   for name, some in found.items()}, file)
    # A table is written whole or not at all.
    if not options.dry and not options.only:
        report.write(found, skipped, command, list(ROWS), context)
        print(f"-- {report.DOCUMENT} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
