# SPDX-License-Identifier: Apache-2.0
"""./run bench nbd: the NBD server's figures, each beside its bar.

How servers are started, how the machine's absence is told and how rounds are
made comes from bench/block; here are only the rows.
"""
import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "..", "block"))

import report  # noqa: E402
import rows  # noqa: E402
import rows_nbd  # noqa: E402
from servers import PRIORITY, Missing  # noqa: E402

ROWS = {
    "nullio": rows_nbd.nullio,
    "sequential": rows_nbd.sequential,
    "tmpfs": rows_nbd.tmpfs,
}


def measure(names, context):
    """Returns the rows found, and why others were not."""
    found, skipped = {}, {}
    for i, name in enumerate(names):
        print(f"-- {name} ", end="", flush=True)
        context.patience.share(1 / (len(names) - i))
        try:
            found[name] = ROWS[name](context)
            print()
            report.print_rows(found[name])
        except (Missing, subprocess.SubprocessError) as error:
            skipped[name] = str(error)
            print(f"\n    not measured: {error}", flush=True)
    return found, skipped


def publish(found, skipped, command, context):
    some = [row for name in ROWS for row in found.get(name, [])]
    lines = ["", f"{report.measured(command)} Server alone on core 0, the "
             "polling client (`bench-nbd-load`, structured replies) on core 1, "
             "the same for all; interleaved rounds, median (lowest to "
             "highest). s/M: CPU seconds of the server for a million requests. "
             f"Of the machine's absence: {context.patience.text()}.", "",
             report.table(some)]
    if skipped:
        lines += ["", "Not measured: " + "; ".join(
            f"{name} ({why})" for name, why in skipped.items()) + "."]
    report.publish("nbd", "NBD (`./run bench nbd`)", lines + [""])


def main():
    parser = argparse.ArgumentParser(prog="bench/nbd.sh")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter rounds")
    parser.add_argument("--only", metavar="ROW,...",
                        help="of: " + ", ".join(ROWS))
    parser.add_argument("--realtime", action="store_true",
                        help="servers and client at real-time priority")
    parser.add_argument("--patience", metavar="MINUTES", type=float,
                        help="as of ./run bench block (5, with --quick 1)")
    parser.add_argument("--dry", action="store_true",
                        help="don't write docs/benchmarks.md")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"no row '{unknown[0]}'; there are: {', '.join(ROWS)}")
    if (os.cpu_count() or 1) < 2:
        print("bench nbd: needs two cores, one for the server")
        return 77
    if options.realtime:
        PRIORITY.extend(["chrt", "-f", "1"])
    if options.patience is None:
        options.patience = 1 if options.quick else 5
    context = rows.Context(options.quick,
                           patience_seconds=options.patience * 60)
    started = time.monotonic()
    found, skipped = measure(names, context)
    met = [row.met for some in found.values() for row in some]
    print(f"-- machine: {context.patience.text()}")
    print(f"-- {met.count(True)} bars met, {met.count(False)} not, "
          f"{len(skipped)} not measured, {time.monotonic() - started:.0f} s")
    with open("build/bench-nbd.json", "w") as file:
        json.dump({name: [vars(row) for row in some]
                   for name, some in found.items()}, file)
    if not options.dry and not options.only:
        publish(found, skipped, "./run bench nbd" +
                " --quick" * options.quick + " --realtime" * options.realtime,
                context)
        print(f"-- {report.DOCUMENT} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
