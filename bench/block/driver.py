# SPDX-License-Identifier: Apache-2.0
"""What ./run bench block, nbd and pool do alike: options, rows one after the
other, closing lines, the table in docs/benchmarks.md."""
import argparse
import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

import report
import rows
from servers import PRIORITY, Missing

REPLAYED = "../shared/data/vm-block-trace.csv"


@dataclass
class Bench:
    name: str
    # What measures them, and how many seconds that takes: --quick, without.
    rows: dict
    patience: tuple     # minutes: --quick, without
    # Writes the table: (found, skipped, command, context).
    publish: Callable
    replays: bool = False


def minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def parse(bench):
    parser = argparse.ArgumentParser(prog=f"bench/{bench.name}.sh")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter rounds")
    parser.add_argument("--only", metavar="ROW,...",
                        help="of: " + ", ".join(bench.rows))
    if bench.replays:
        parser.add_argument("--trace", metavar="FILE", default=REPLAYED,
                            help="what is replayed (%(default)s)")
    parser.add_argument("--realtime", action="store_true",
                        help="servers and client at real-time priority, for "
                        "a machine that others use too")
    quick, full = bench.patience
    parser.add_argument("--patience", metavar="MINUTES", type=float,
                        help="for how long in all to wait while others take "
                        f"the machine away, and to measure again ({full}, "
                        f"with --quick {quick}; 0: not at all); as "
                        "--patience=MINUTES after ./run")
    parser.add_argument("--dry", action="store_true",
                        help="don't write docs/benchmarks.md")
    options = parser.parse_args()
    options.names = (options.only.split(",") if options.only else
                     list(bench.rows))
    unknown = [name for name in options.names if name not in bench.rows]
    if unknown:
        parser.error(f"no row '{unknown[0]}'; there are: "
                     f"{', '.join(bench.rows)}")
    options.command = (f"./run bench {bench.name}" +
                       " --quick" * options.quick +
                       " --realtime" * options.realtime)
    if options.patience is None:
        options.patience = quick if options.quick else full
    else:
        options.command += f" --patience={options.patience:g}"
    return options


def measure(bench, options, context):
    """Returns the rows found, and why others were not."""
    found, skipped, started = {}, {}, time.monotonic()
    names = options.names
    left = [bench.rows[name][1 if options.quick else 2] for name in names]
    print(f"-- {len(names)} rows, about {minutes(sum(left))}; at most "
          f"{minutes(options.patience * 60)} more if others take the machine "
          "away (~)", flush=True)
    for i, name in enumerate(names):
        print(f"-- {name} ({i + 1} of {len(names)}; "
              f"{minutes(time.monotonic() - started)} so far, "
              f"about {minutes(sum(left[i:]))} left) ", end="", flush=True)
        context.patience.share(left[i] / sum(left[i:]))
        try:
            found[name] = bench.rows[name][0](context)
            print()
            report.print_rows(found[name])
        except (Missing, subprocess.SubprocessError) as error:
            skipped[name] = str(error)
            print(f"\n    not measured: {error}", flush=True)
    return found, skipped


def run(bench):
    """Returns the status to exit with; 77: not on this machine."""
    options = parse(bench)
    if (os.cpu_count() or 1) < 2:
        print(f"bench {bench.name}: needs two cores, one for the server")
        return 77
    if options.realtime:
        PRIORITY.extend(["chrt", "-f", "1"])
    context = rows.Context(options.quick, getattr(options, "trace", None),
                           options.patience * 60)
    started = time.monotonic()
    found, skipped = measure(bench, options, context)
    met = [row.met for some in found.values() for row in some]
    print(f"-- machine: {context.patience.text()}")
    print(f"-- {met.count(True)} bars met, {met.count(False)} not, "
          f"{len(skipped)} not measured, "
          f"{time.monotonic() - started:.0f} s")
    with open(f"build/bench-{bench.name}.json", "w") as file:
        json.dump({name: [vars(row) for row in some]
                   for name, some in found.items()}, file)
    # A table is written whole or not at all.
    if not options.dry and not options.only:
        bench.publish(found, skipped, options.command, context)
        print(f"-- {report.DOCUMENT} is up to date")
    return 0
