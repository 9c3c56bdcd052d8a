# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: each measures, compares with its bar, and says so.

A row that can't be measured here says why; that isn't a failure of the bench.
"""
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from machine import Patience, alone, disturbed
from measure import (Series, count, iops, latency, load, micro, p50, percent,
                     seconds_per_million, times)
from servers import Echo, Missing, Penstock, Qsd, cpu_ns, program, wait_until

# A limit that never binds.
FREE = 2000000000
# Binds nobody either, and is all that a promise does on an idle device.
LOOSE_SLA = '{iops: ">= 1000", latency: "<= 50 ms"}'
NULLIO = "[{name: n0, kind: nullio, size: 64GiB}]"
ONE_VDEV = [{"name": "vd0", "device": "n0", "size": "8GiB"}]
TMPFS_SPAN = 512 << 20
LOOSE = f"[{{pasid: 1, name: bench, vdev: vd0, sla: {LOOSE_SLA}}}]"


@dataclass
class Row:
    figure: str
    bar: str
    ours: str = "-"
    peer: str = "-"
    met: bool | None = None
    note: str = ""
    holds: str = ""     # what holds it; told if the bar is not met
    away: list = field(default_factory=list)    # see saw()
    numbers: dict = field(default_factory=dict)

    def saw(self, *sides):
        """For how much of each round the machine was away all the same."""
        self.away = [disturbed(results) for results in zip(*sides)]


class Context:
    """How long and how often, and a directory for each row."""

    def __init__(self, quick, trace=None, patience_seconds=0):
        self.quick = quick
        self.trace = trace
        self.patience = Patience(patience_seconds)
        self.replayed = ""
        self.rounds = 3 if quick else 9
        self.seconds = 0.5 if quick else 1.5

    @contextlib.contextmanager
    def directory(self, parent=None):
        path = tempfile.mkdtemp(prefix="penstock-bench-", dir=parent)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


    def loads(self, server, *jobs):
        """What measures 'jobs' once."""
        return lambda: load(server, jobs, self.seconds)

    def interleaved(self, *sides, rounds=None):
        """Measure all sides in turn, the order changing; for each side the
        list of its results."""
        found = [self.patience.round(sides, turned=i % 2 == 1)
                 for i in range(rounds or self.rounds)]
        return [list(results) for results in zip(*found)]


def cpu_text(results):
    values = Series(map(seconds_per_million, results))
    return "" if values.median is None else f", {values.median:.2f} s/M"


def pair_text(rounds, seconds, pair):
    """Of many short pairs."""
    return (f"{rounds} pairs of {seconds} s, median and its 95 % "
            f"interval; {count(Series(map(iops, pair[0])).median)} and "
            f"{count(Series(map(iops, pair[1])).median)} IOPS")


def rate_row(row, ours, theirs, wanted):
    """Compare rates of pairs with 'wanted' times the peer's."""
    ratio = Series([iops(a) / iops(b) for a, b in zip(ours, theirs)])
    row.ours = Series(map(iops, ours)).text(count) + cpu_text(ours)
    row.peer = (Series(map(iops, theirs)).text(count) + cpu_text(theirs) +
                f"; ratio {ratio.text(times)}")
    row.met = ratio.median >= wanted
    row.numbers = {"ours": [iops(r) for r in ours],
                   "peer": [iops(r) for r in theirs], "wanted": wanted}
    row.saw(ours, theirs)
    return row


def nullio(context):
    """Row 1: the ring's rate with an SLA enforced."""
    row = Row("nullio, 4 KiB random read, QD 32, SLA enforced",
              "2.6 × qemu-storage-daemon with a throttle group",
              holds="instructions of a request, of which following a chain's "
              "descriptors is the largest part")
    with context.directory() as directory, \
            Penstock(directory, NULLIO, ONE_VDEV, LOOSE) as ours, \
            Qsd(directory, [{"driver": "null-co", "limit": FREE}]) as qsd:
        results = context.interleaved(
            context.loads(ours, f"socket={ours.socket},depth=32"),
            context.loads(qsd, f"socket={qsd.socket},depth=32"))
    return [rate_row(row, *results, 2.6)]


def single(context):
    """Row 2: QD 1 while polled, and what it costs to be idle."""
    row = Row("nullio, QD 1 p50 while polled", "bench-echo + 0.4 µs",
              holds="instructions: a request alone shares no round's cost "
              "with others")
    idle = Row("idle CPU of the endpoint, a client attached",
               "under 1 % of a core",
               holds="the endpoint's wake-ups, each of which costs")
    with context.directory() as directory, \
            Penstock(directory, NULLIO, ONE_VDEV, LOOSE) as ours:
        with Echo(directory) as echo, \
                Qsd(directory, [{"driver": "null-co"}]) as qsd:
            echo.park()
            mine, echos, theirs = context.interleaved(*[
                context.loads(server, f"socket={server.socket}")
                for server in (ours, echo, qsd)])
        seconds = 2 if context.quick else 5
        with open(os.devnull, "w") as null:
            client = subprocess.Popen(
                [program("bench/bench-load"), "--sleep", "--warmup", "0",
                 "--duration", str(seconds + 2),
                 f"socket={ours.socket},rate=1"], stdout=null, stderr=null)
        wait_until("bench-load to attach",
                   lambda: ours.vdevs_now()[0]["attached"])
        before = cpu_ns(ours.pid), cpu_ns(ours.daemon_pid)
        # What idling costs shows only while nothing happens.
        time.sleep(seconds)
        used = [(after - first) / seconds / 1e7 for after, first in
                zip((cpu_ns(ours.pid), cpu_ns(ours.daemon_pid)), before)]
        client.wait()

    over = Series([p50(a) - p50(b) for a, b in zip(mine, echos)])
    row.ours = (Series(map(p50, mine)).text(micro) +
                f"; over echo {over.median / 1000:+.2f} µs")
    row.peer = ("echo " + Series(map(p50, echos)).text(micro) +
                "; qemu-storage-daemon " + Series(map(p50, theirs)).text(micro))
    row.met = over.median <= 400
    row.numbers = {"ours": [p50(r) for r in mine],
                   "peer": [p50(r) for r in theirs],
                   "echo": [p50(r) for r in echos]}
    row.saw(mine, echos, theirs)
    idle.ours = f"{used[0]:.2f} % (penstockd {used[1]:.2f} %)"
    idle.peer = "SPDK: 100 %"
    idle.met = used[0] < 1
    return [row, idle]


def memory(context):
    """Row 3: a memory device against the copying it must do."""
    rows = []
    with context.directory() as directory, \
            Penstock(directory, "[{name: m0, kind: memory, size: 1GiB}]",
                     [{"name": "vd0", "device": "m0", "size": "600MiB"}],
                     LOOSE) as ours:
        span = 512 << 20
        for write, wanted in ((False, 0.62), (True, 0.70)):
            name = "write" if write else "read"
            row = Row(f"memory, 4 KiB random {name}, QD 32, 512 MiB",
                      f"{wanted:.0%} of bare memcpy",
                      holds="memory latency: each request is to a page that "
                      "no cache has")
            options = ["--rounds", "1", "--duration", str(context.seconds)]
            options += ["--write"] * write
            results, bare = context.interleaved(
                context.loads(ours, f"socket={ours.socket},depth=32,"
                              f"span={span},read={0 if write else 100}"),
                lambda: alone("bench/bench-memcpy", *options))
            rates = [iops(r) for r in results]
            copies = [r["found"]["copies_per_s"] for r in bare]
            share = Series([a / b * 100 for a, b in zip(rates, copies)])
            row.ours = Series(rates).text(count) + cpu_text(results)
            row.peer = ("memcpy " + Series(copies).text(count) +
                        f"; share {share.text(percent)}")
            by_cpu = Series([
                r["found"]["cpu_us_per_copy"] / seconds_per_million(a) * 100
                for a, r in zip(results, bare)])
            row.note = ("by CPU time, which leaves out most of the machine's "
                        f"absence, {by_cpu.text(percent)} of memcpy")
            row.met = share.median >= wanted * 100
            row.numbers = {"ours": rates, "peer": copies, "wanted": wanted}
            row.saw(results, bare)
            rows.append(row)
    return rows


def fill(path, size):
    """A file with every block written, so that reads find data."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)


def tmpfs_row():
    return Row("file on tmpfs, 4 KiB random read, QD 32",
               "1.5 × qemu-storage-daemon, io_uring",
               holds="the kernel's part of a request, which both have")


@contextlib.contextmanager
def tmpfs_directory(context):
    if not os.path.ismount("/dev/shm"):
        raise Missing("/dev/shm is no tmpfs")
    with context.directory("/dev/shm") as directory:
        yield directory


@contextlib.contextmanager
def tmpfs_images(context, **way):
    """A directory with two full images: devices and vdevs of ours on one, and
    the path of the other."""
    with tmpfs_directory(context) as directory:
        mine, theirs = directory + "/ours.img", directory + "/theirs.img"
        fill(theirs, 640 << 20)
        devices = f"[{{name: f0, kind: file, path: {mine}, size: 640MiB}}]"
        vdevs = [{"name": "vd0", "device": "f0", "size": "560MiB", **way}]
        yield directory, devices, vdevs, theirs


def tmpfs(context):
    """Row 4: a file on tmpfs."""
    with tmpfs_images(context) as (directory, devices, vdevs, theirs), \
            Penstock(directory, devices, vdevs, LOOSE) as ours, \
            Qsd(directory, [{"driver": "file", "path": theirs}]) as qsd:
        job = f"depth=32,span={TMPFS_SPAN}"
        results = context.interleaved(
            context.loads(ours, f"socket={ours.socket},{job}"),
            context.loads(qsd, f"socket={qsd.socket},{job}"))
    return [rate_row(tmpfs_row(), *results, 1.5)]


def enforcement(context):
    """Row 5: what promises cost where none of them binds."""
    row = Row("cost of enforcement where nothing binds: a vdev with an SLA "
              "and a limit against one with neither on the same endpoint "
              "(which goes through the scheduler too)",
              "at most 5 % over 20 interleaved pairs",
              holds="memory, of which the two use different lines; of "
              "instructions both take about as many (the rows that count "
              "them)")
    off = Row("the same vdev against itself while `penstock enforce off` "
              "(requests still pass the scheduler, which gives them out as "
              "they come)", "-", peer="-")

    def bound(vdev):
        return (f'[{{pasid: 1, name: bound, vdev: {vdev}, '
                f'sla: {LOOSE_SLA}, limit: {{iops: {FREE}}}}}]')
    vdevs = ONE_VDEV + [{"name": "vd1", "device": "n0", "size": "8GiB"}]
    rounds = 8 if context.quick else 80
    seconds = 0.2

    def short(server, socket, enforce=None):
        def take():
            if enforce:
                server.ask("enforce", enforce)
            return load(server, [f"socket={socket},depth=32"], seconds, 0.1)
        return take
    # Alike, the two are 1 or 2 % apart, by where their memory lies: so each is
    # the one that is bound in half of the pairs.
    mine = [[], []]
    for vdev, other in ("vd0", "vd1"), ("vd1", "vd0"):
        with context.directory() as directory, \
                Penstock(directory, NULLIO, vdevs, bound(vdev)) as ours:
            for side, results in zip(mine, context.interleaved(*[
                    short(ours, ours.sockets[name])
                    for name in (vdev, other)], rounds=rounds // 2)):
                side += results
            if vdev == "vd0":
                switched = context.interleaved(*[
                    short(ours, ours.sockets[vdev], enforce)
                    for enforce in ("on", "off")],
                    rounds=max(rounds // 2, 2))
    with context.directory() as directory, Qsd(directory, [
            {"driver": "null-co", "limit": FREE},
            {"driver": "null-co"}]) as qsd:
        theirs = context.interleaved(*[
            short(qsd, socket) for socket in qsd.sockets],
            rounds=max(rounds // 4, 2))

    def cost(some):
        return Series([(1 - iops(a) / iops(b)) * 100 for a, b in zip(*some)])

    def by_cpu(some):
        return Series([(seconds_per_million(a) / seconds_per_million(b) - 1) *
                       100 for a, b in zip(*some)])

    def text(some):
        return (cost(some).interval(percent) + "; of server CPU for each "
                "request " + by_cpu(some).interval(percent))
    row.ours, off.ours = text(mine), text(switched)
    off.note = f"{len(switched[0])} pairs"
    row.peer = ("qemu-storage-daemon, with a throttle node against without: " +
                cost(theirs).interval(percent))
    row.met = cost(mine).median <= 5
    row.note = pair_text(rounds, seconds, mine)
    row.numbers = {"ours": cost(mine).values}
    row.saw(*mine)
    off.saw(*switched)
    return [row, off]


def neighbours(context):
    """Row 7: a victim at QD 1 beside a neighbour at QD 128, no promises."""
    row = Row("victim QD 1 beside a QD 128 neighbour: victim's p99",
              "under 50 µs beyond the time to wake a thread",
              holds="what the neighbour has in the round before the victim")
    vdevs = ONE_VDEV + [{"name": "vd1", "device": "n0", "size": "8GiB"}]

    def jobs(victim, neighbour):
        return [f"name=victim,socket={victim},depth=1",
                f"name=neighbour,socket={neighbour},depth=128"]
    with context.directory() as directory, \
            Penstock(directory, NULLIO, vdevs) as ours, \
            Qsd(directory, [{"driver": "null-co"},
                            {"driver": "null-co"}]) as qsd:
        mine, theirs = context.interleaved(
            context.loads(ours, *jobs(ours.sockets["vd0"],
                                      ours.sockets["vd1"])),
            context.loads(qsd, *jobs(*qsd.sockets)),
            rounds=max(context.rounds - 2, 2))

    def p99(result):
        return latency(result, "victim")["p99"]

    def text(results):
        return (Series(map(p99, results)).text(micro) + "; victim " +
                count(Series([iops(r, "victim") for r in results]).median) +
                ", neighbour " +
                count(Series([iops(r, "neighbour") for r in results]).median) +
                " IOPS")
    row.ours, row.peer = text(mine), "qemu-storage-daemon " + text(theirs)
    row.met = Series(map(p99, mine)).median < 50000
    row.saw(mine, theirs)
    row.numbers = {"ours": [p99(r) for r in mine],
                   "peer": [p99(r) for r in theirs]}
    return [row]


def instructions(_context):
    """Row 5 too: what a request may cost, counted and not timed."""
    done = subprocess.run(
        ["bench/budget.sh", program("bench/bench-budget")],
        capture_output=True, text=True, check=False, timeout=300)
    found = re.findall(r"^(.*?): (\d+) instructions a request, .*?(\d+)$",
                       done.stdout, re.MULTILINE)
    if not found:
        raise Missing((done.stdout + done.stderr).strip().splitlines()[-1])
    rows = []
    for what, count_each, budget in found:
        row = Row(f"nullio, {what}: instructions of the server a request",
                  f"at most {budget} (callgrind; a test too)", count_each,
                  holds="the code alone: counted, not timed")
        row.met = int(count_each) <= int(budget)
        rows.append(row)
    return rows


def scheduler(context):
    """Row 10: the scheduler alone, without anything to be scheduled."""
    rows = []
    for clients, wanted, holds in (
            (10000, 10e6, "instructions: finding a client's place among the "
             "others and moving it on the timer wheels"),
            (100000, 4e6, "memory latency: the lines of clients, requests "
             "and wheels that a decision touches are in no cache")):
        row = Row(f"scheduler alone, {clients:,} clients with reservation, "
                  "limit and weight: decisions a second",
                  f"{wanted / 1e6:.0f} M", holds=holds)
        rates = {}
        options = ["--clients", str(clients),
                   "--seconds", str(context.seconds / 3)]
        results, = context.interleaved(
            lambda: alone("bench/bench-sched", *options))
        for result in results:
            for some in result["found"]:
                rates.setdefault(some["pattern"], []).append(
                    some["decisions_per_s"])
        closed = Series(rates["closed"])
        row.ours = (closed.text(count) + "; in random order " +
                    count(Series(rates["random"]).median) +
                    ", limits bind " + count(Series(rates["limited"]).median) +
                    ", nothing binds " +
                    count(Series(rates["passing"]).median))
        row.peer = "dmclock, measured before: 0.65 M at 10,000"
        row.met = closed.median >= wanted
        row.saw(results)
        rows.append(row)
    return rows
