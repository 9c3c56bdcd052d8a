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

import promises
import report
import rows
from servers import PRIORITY, Missing

ROWS = {
    "nullio": rows.nullio,
    "single": rows.single,
    "memory": rows.memory,
    "tmpfs": rows.tmpfs,
    "enforcement": rows.enforcement,
    "limits": promises.limits,
    "neighbours": rows.neighbours,
    "promises": promises.modelled,
    "file": promises.real_file,
    "replay": promises.replay,
}


def main():
    parser = argparse.ArgumentParser(prog="bench/block.sh")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter rounds: under two minutes")
    parser.add_argument("--only", metavar="ROW,...",
                        help="of: " + ", ".join(ROWS))
    parser.add_argument("--trace", metavar="FILE",
                        default="../shared/data/vm-block-trace.csv",
                        help="what is replayed (%(default)s)")
    parser.add_argument("--realtime", action="store_true",
                        help="servers and client at real-time priority, for "
                        "a machine that others use too")
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
    context = rows.Context(options.quick, options.trace)
    found, skipped, started = {}, {}, time.monotonic()
    for name in names:
        print(f"-- {name} ({time.monotonic() - started:.0f} s so far)",
              flush=True)
        try:
            found[name] = ROWS[name](context)
            report.print_rows(found[name])
        except (Missing, subprocess.TimeoutExpired) as error:
            skipped[name] = str(error)
            print(f"    not measured: {error}", flush=True)
    met = [row.met for some in found.values() for row in some]
    print(f"-- {met.count(True)} bars met, {met.count(False)} not, "
          f"{len(skipped)} not measured, "
          f"{time.monotonic() - started:.0f} s")
    with open("build/bench-block.json", "w") as file:
        json.dump({name: [vars(row) for row in some]
                   for name, some in found.items()}, file)
    # A table is written whole or not at all.
    if not options.dry and not options.only:
        command = ("./run bench block" + " --quick" * options.quick +
                                        " --realtime" * options.realtime)
        report.write(found, skipped, command, list(ROWS),
                     context.replayed)
        print(f"-- {report.DOCUMENT} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
