# SPDX-License-Identifier: Apache-2.0
"""The rows of ./run bench pool: each measures and compares with its bar."""
import itertools
import os

from machine import alone
from measure import Series, count, iops, load, percent, times
from rows import Row, cpu_text, pair_text, tmpfs_directory
from servers import Penstock

TIB = 10
SPAN = 256 << 20        # is overwritten
EXTENT = 1 << 20
FIRST_SECONDS = 0.3     # of first writes: they take memory
FIRST_MOST = 250000     # in one round
LOG_BYTES = 64 << 20    # more than the log gets in all rounds


def thin(context):
    """A vdev of a thin pool against one of a thick pool, both allocated."""
    row = Row("nullio, 4 KiB random read, QD 32: a thin vdev that is "
              "allocated against a thick one",
              "within 3 %, interleaved pairs",
              holds="nothing of ours: both look up their extents in the same "
              "table, and differ in which lines of the caches they use")
    devices = ("[{name: n0, kind: nullio, size: 64GiB}, "
               "{name: n1, kind: nullio, size: 64GiB}]")
    vdevs = [{"name": "thin", "device": "n0", "size": "8GiB", "thin": True},
             {"name": "thick", "device": "n1", "size": "8GiB"}]
    rounds, seconds = (8 if context.quick else 40), 0.2
    with context.directory() as directory, \
            Penstock(directory, devices, vdevs) as ours:
        def short(name):
            return lambda: load(
                ours, [f"socket={ours.sockets[name]},depth=32"], seconds, 0.1)
        results = context.interleaved(short("thin"), short("thick"),
                                      rounds=rounds)
    cost = Series([(1 - iops(a) / iops(b)) * 100 for a, b in zip(*results)])
    row.ours = cost.interval(percent) + " slower" + cpu_text(results[0])
    row.peer = ("the thick one " +
                Series(map(iops, results[1])).text(count) +
                cpu_text(results[1]))
    row.note = pair_text(rounds, seconds, results)
    row.met = cost.median <= 3
    row.numbers = {"ours": cost.values}
    row.saw(*results)
    return [row]


def first_row(name, holds, rounds, taken):
    """One way to make first writes: 'rounds' are theirs and overwrites'."""
    row = Row("file on tmpfs, 4 KiB random write, QD 32: first writes (each "
              "takes an extent and a record of the log, on both copies), " +
              name, "half of the rate of overwrites", holds=holds)
    ratio = Series([iops(a) / iops(b) for a, b in zip(*rounds)])
    row.ours = Series(map(iops, rounds[0])).text(count) + cpu_text(rounds[0])
    row.peer = ("overwrites " + Series(map(iops, rounds[1])).text(count) +
                cpu_text(rounds[1]) + f"; ratio {ratio.text(times)}")
    row.note = f"{taken:,} extents were taken in all"
    row.met = ratio.median >= 0.5
    row.numbers = {"ours": ratio.values}
    row.saw(*rounds)
    return row


class Backing:
    """The file that a server's device is, and which of its pages are there.

    A disk has a place for each of its blocks before they are written; a file on
    tmpfs gets a page then.  What extents hold, and the log, stays as it is."""

    def __init__(self, path, capacity):
        self.file = os.open(path, os.O_RDWR)
        self.metadata = os.fstat(self.file).st_size - capacity
        self.extents = 0
        for quarter in range(4):    # two areas of the log, two copies
            os.posix_fallocate(self.file, self.metadata * quarter // 4,
                               min(LOG_BYTES, self.metadata // 4))

    def have(self, extents):
        """The first page of so many of the device's extents."""
        for extent in range(self.extents, extents):
            os.posix_fallocate(self.file, self.metadata + extent * EXTENT,
                               4096)
        self.extents = max(self.extents, extents)

    def close(self):
        os.close(self.file)


def first_writes(context):
    """Writes that need a new extent against those that need none."""
    # So large that hardly any write falls where another has been.
    sizes = {"new": 8 << 40, "old": SPAN}
    seeds = itertools.count(1)

    def write(ours, name, more=""):
        return load(ours, [f"socket={ours.sockets[name]},depth=32,read=0" +
                           more], FIRST_SECONDS, 0.1,
                    options=["--seed", str(next(seeds))])

    def measure(has_pages):
        with tmpfs_directory(context) as directory:
            devices = (f"[{{name: f0, kind: file, path: {directory}/file, "
                       f"size: {TIB}TiB}}]")
            vdevs = [{"name": name, "device": "f0", "size": str(size),
                      "thin": True, "empty": name == "new"}
                     for name, size in sizes.items()]
            with Penstock(directory, devices, vdevs) as ours:
                backing = has_pages and Backing(directory + "/file",
                                                TIB << 40)

                def taken():
                    return ours.pools_now()[0]["allocated_bytes"] // EXTENT

                def first():
                    if backing:
                        backing.have(taken() + FIRST_MOST)
                    return write(ours, "new",
                                 f",stride={EXTENT}" if backing else "")

                rounds = context.interleaved(
                    first, lambda: write(ours, "old"))
                extents = taken() - SPAN // EXTENT
                if backing:
                    backing.close()
        return rounds, extents

    return [
        first_row("into a sparse file, each of whose pages tmpfs makes when "
                  "it is written",
                  "of a first write's time 54 % is its own write, which makes "
                  "a page in tmpfs (into a hole of a bare file: 1.8 to 3.2 µs "
                  "of CPU, over data 1.2 to 1.6 µs), 8 % the log's two "
                  "copies, a block of each for 16 writes", *measure(False)),
        first_row("into a file that has its pages already, as a disk has its "
                  "blocks: one of each extent, and the log's",
                  "the log, 17 % of a first write's time, and the miss on its "
                  "place in the table, 8 %", *measure(True)),
    ]


def start(context):
    """A pool that was half allocated in the worst way is opened."""
    with context.directory() as directory:
        results, = context.interleaved(
            lambda: alone("bench/bench-pool-start", directory + "/device",
                          str(TIB)), rounds=context.rounds)
    found = [result["found"] for result in results]
    row = Row(f"start with {TIB} TiB of thin metadata, half allocated "
              f"({found[0]['mapped']:,} mappings, none beside another)", "1 s",
              holds="the records, each about another extent: 0.2 k "
              "instructions, and a miss or two that were asked for in time")
    seconds = Series([some["seconds"] for some in found])
    memory = Series([some["memory_mib"] for some in found])
    row.ours = seconds.text(lambda value: f"{value:.2f} s")
    row.note = (f"{memory.median:.1f} MiB of memory, "
                f"{memory.median / TIB:.1f} MiB for each TiB; "
                f"{found[0]['log_mib']:.0f} MiB of log are read")
    row.met = seconds.median <= 1
    row.numbers = {"ours": seconds.values}
    row.saw(results)
    return [row]
