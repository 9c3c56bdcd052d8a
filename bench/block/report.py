# SPDX-License-Identifier: Apache-2.0
"""The table: on the terminal, in docs/benchmarks.md, and the plots."""
import datetime
import os
import platform
import subprocess

import plot
from machine import AWAY_MOST
from measure import Series, count, percent

DOCUMENT = "docs/benchmarks.md"
HEADING = ["figure", "penstock", "other, same run", "bar", "met"]


def met_text(row):
    """The verdict; with the machine's absence if the bar is not met, or if
    that absence is more than a round may have."""
    short = sum(away > AWAY_MOST for away in row.away)
    if row.bar == "-":
        text = "-"
    elif row.met is None:
        text = "not judged: too little is left without the machine's absence"
    else:
        text = "yes" if row.met else "no"
        if not row.met and row.holds:
            text += f"; what holds it: {row.holds}"
    if row.away and (short or not row.met) and row.bar != "-":
        text += ("; the machine was away "
                 f"{Series(row.away).text(percent)} of the time")
        if short:
            text += (f", in {short} of {len(row.away)} rounds more than "
                     f"{AWAY_MOST:g} % even so")
    return text


def cells(row):
    ours = row.ours + (f" ({row.note})" if row.note else "")
    return [row.figure, ours, row.peer, row.bar, met_text(row)]


def print_rows(rows):
    for row in rows:
        figure, ours, peer, bar, met = cells(row)
        print(f"{figure}\n    penstock  {ours}\n    other     {peer}\n"
              f"    bar       {bar}\n    met       {met}", flush=True)


def table(rows):
    lines = ["| " + " | ".join(HEADING) + " |",
             "| " + " | ".join("---" for _ in HEADING) + " |"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) +
              " |" for row in rows]
    return "\n".join(lines)


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              check=False)
    except OSError:
        return "absent"
    return (done.stdout.splitlines() or ["?"])[0]


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    system = "unknown system"
    with open("/etc/os-release") as file:
        for line in file:
            if line.startswith("PRETTY_NAME="):
                system = line.split("=", 1)[1].strip().strip('"')
    return (f"{os.cpu_count()} × {model}, {system}, kernel "
            f"{platform.release()}, {first_line(['qemu-storage-daemon', '--version'])}")


def commit():
    """What is measured; its documents may differ."""
    git = ["git", "-c", "safe.directory=*"]
    name = first_line(git + ["rev-parse", "--short=12", "HEAD"])
    if name in ("absent", "?"):
        return "an unknown commit"
    changed = first_line(git + ["status", "--porcelain",
                                "--untracked-files=no", "--", ".", ":!docs"])
    return f"commit {name}" + (" with changes" if changed != "?" else "")


def measured(command):
    """When, what and where."""
    today = datetime.datetime.now(datetime.timezone.utc)
    return (f"Measured {today:%Y-%m-%d} at {commit()} with `{command}` on "
            f"{machine()}.")


def plots(found):
    """Write the plots that there are figures for; returns Markdown."""
    lines = []
    rates = [(row.figure, [sorted(row.numbers[k])[len(row.numbers[k]) // 2]
                           for k in ("ours", "peer")])
             for rows in (found.get("nullio"), found.get("memory"),
                          found.get("tmpfs")) for row in rows or []
             if row.numbers]
    if rates:
        with open("docs/bench-block-rates.svg", "w") as file:
            file.write(plot.bars(
                "4 KiB requests a second, QD 32, one core",
                ("Penstock", "qemu-storage-daemon; bare memcpy for memory"),
                rates, count))
        lines.append("![rates](bench-block-rates.svg)")
    for row in found.get("limits") or []:
        limit = row.numbers.get("limit")
        if not limit:
            continue
        name = f"bench-block-limit-{limit}.svg"
        series = [[done * 100 for done, *_ in row.numbers[key]]
                  for key in ("ours", "peer")]
        with open(f"docs/{name}", "w") as file:
            file.write(plot.windows(
                f"IOPS in each 10 ms under a limit of {limit:,} IOPS, QD 32",
                ("Penstock", "qemu-storage-daemon"), series, limit, count))
        lines.append(f"![limit of {limit:,} IOPS]({name})")
    return lines


def write(found, skipped, command, context):
    """./run bench block: two tables and the plots."""
    replay = found.get("replay")
    rows = [row for name, some in found.items() if name != "replay"
            for row in some]
    lines = ["",
             f"{measured(command)} "
             "Server alone on core 0, the polling client (`bench-load`) on "
             "core 1, the same for all; interleaved rounds, median (lowest to "
             "highest). Penstock polls as long as it pays and then sleeps, "
             "qemu-storage-daemon's iothread the same with its default of "
             "32 µs, the echo server always. s/M: CPU seconds of the server "
             "for a million requests. Of limits and promises, time that the "
             "machine itself was away, as the client saw it, is not owed, and "
             "windows with more than a fifth of it are left out; of latency, "
             "so are requests that it held up (`bench/load-promise.c`); in "
             "brackets, the same without any excuse.", "",
             "Others on the same hardware take this machine's cores away. A "
             "round (all that is compared with each other, whoever it is) in "
             f"which that was more than {AWAY_MOST:g} % of a slice is taken "
             "again, whatever it showed: the greatest of both cores' steal, "
             "the time that the polling client did not run and that the "
             "server was ready and did not. Of this run: "
             f"{context.patience.text()}.", "", table(rows)]
    if replay:
        lines += ["", "One virtual machine's block requests "
                  "(`../shared/data/vm-block-trace.csv`), replayed "
                  f"{context.replayed}, by three virtual machines with different "
                  "SLAs, beginning at different times of its hour, beside a "
                  "neighbour at QD 256, on nullio with a seeded disk model:", "", table(replay)]
    lines += skipped_lines(skipped) + [""] + plots(found) + [""]
    publish("block", "The block service (`./run bench block`)", lines)


def skipped_lines(skipped):
    if not skipped:
        return []
    return ["", "Not measured: " + "; ".join(
        f"{name} ({why})" for name, why in skipped.items()) + "."]


def publish_rows(name, heading, head, rows, skipped):
    """A part with one table."""
    publish(name, heading,
            ["", head, "", table(rows)] + skipped_lines(skipped) + [""])


def publish(name, heading, lines):
    """Replace the part of DOCUMENT between this bench's markers."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    lines = [begin] + lines + [end]
    try:
        with open(DOCUMENT) as file:
            text = file.read()
    except FileNotFoundError:
        text = "# Benchmarks\n"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + "\n".join(lines) + rest.split(end, 1)[1]
    else:
        text += f"\n## {heading}\n\n" + "\n".join(lines) + "\n"
    with open(DOCUMENT, "w") as file:
        file.write(text)
