# SPDX-License-Identifier: Apache-2.0
"""Rows about promises, judged window by window by the client."""
import collections
import math
import os
from dataclasses import dataclass

from measure import (Series, count, iops, job_of, latency, load, micro,
                     percent)
from rows import Row
from servers import Missing, Penstock


# A disk of its own kind: 8 at a time, 250 µs each, some much longer.
MODEL = ("{latency: {read: 250us, write: 300us, sigma: 0.3, servers: 8}, "
         "seed: 7}")


# Fewer windows say little about 99 in 100.
JUDGED_MIN = 30


class Kept:
    """In how many windows a promise was kept, the rounds together."""

    def __init__(self, results, name, key):
        self.some = [job_of(r, name)[key] for r in results]

    def sum(self, what):
        return sum(k.get(what, 0) for k in self.some)

    @property
    def met(self):
        """In 99 of 100 windows; None: too few to judge."""
        if self.sum("judged") < JUDGED_MIN:
            return None
        return self.sum("judged_kept") >= 0.99 * self.sum("judged")

    def text(self):
        judged, windows = self.sum("judged"), self.sum("windows")
        if not windows:
            return "nothing to judge"
        text = (f"{100 * self.sum('judged_kept') / judged:.2f} % of "
                f"{judged} windows" if judged else "no window to judge")
        if "conforming" in self.some[0]:
            text += (f", {self.sum('late')} of {self.sum('conforming'):,} "
                     f"requests late, {self.sum('left_out'):,} left out, "
                     f"{self.sum('beyond'):,} beyond the promise")
        else:
            text += f", {self.sum('left_out')} left out"
        every = 100 * self.sum("kept") / windows
        return text + f" ({every:.1f} % with the machine's absence)"


@dataclass
class Rounds:
    """What was measured in turn."""
    kept: list      # the promised one at QD 32 takes what it can get
    polite: list    # it asks for what it is promised, and no more
    alone: list     # the neighbour alone, each before one of the polite


def rest_row(rounds, promised, what):
    """What the neighbour gets of what was not promised."""
    row = Row(f"{what}: the neighbour, QD 256, beside both promised ones "
              "asking for what they are promised", "80 % of the rest",
              holds="the device's rate is less with three at once than with "
              "the neighbour alone, and changes between rounds")
    capacity = Series(sum(j["iops"] for j in r["jobs"]) for r in rounds.alone)
    got = Series(iops(r, "neighbour") for r in rounds.polite)
    rest = capacity.median - promised
    row.peer = (f"alone {capacity.text(count)}; promised "
                f"{count(promised)}")
    row.ours = got.text(count)
    row.saw(rounds.alone, rounds.polite)
    if rest <= 0:
        row.met = False
        return row
    share = Series(g / (a - promised) * 100
                   for g, a in zip(got.values, capacity.values)
                   if a > promised)
    row.ours += f"; {share.text(percent)} of {count(rest)}"
    row.met = share.median >= 80
    return row


def promise_rows(rounds, promised, names, what):
    """Rows for promises to 'names', 'promised' together, beside the
    neighbour."""
    rows, results = [], rounds.kept
    for name, keys in names:
        for key, promise in keys:
            row = Row(f"{what}: {promise}", "kept in 99 % of 100 ms windows")
            shares = Kept(results, name, key)
            row.ours = (shares.text() + "; " + count(Series(
                [iops(r, name) for r in results]).median) + " IOPS, p99 " +
                micro(Series([latency(r, name)["p99"]
                              for r in results]).median))
            row.peer = "nobody has it"
            row.met = shares.met
            row.saw(results)
            rows.append(row)
    rows.append(rest_row(rounds, promised, what))
    return rows


def promised_vdevs(device, size):
    return [{"name": name, "device": device, "size": size}
            for name in ("rate", "quick", "other")]


def run_promises(context, ours, rate, latency_ns, seconds, depth=32):
    """Both promises beside the neighbour, and the neighbour alone: Rounds."""
    neighbour = f"name=neighbour,socket={ours.sockets['other']},depth=256"
    bound = f",promise-latency={latency_ns}" if latency_ns else ""
    quick = (f"name=quick,socket={ours.sockets['quick']},depth=128,"
             f"rate={rate},promise={rate}{bound}")
    closed = (f"name=rate,socket={ours.sockets['rate']},depth={depth},"
              f"promise={rate}")
    polite = f"{closed},rate={rate}"
    rounds = Rounds([], [], [])
    for _ in range(2 if context.quick else 4):
        rounds.kept += context.patience.round(
            [lambda: load(ours, [closed, quick, neighbour], seconds, 1)])
        alone, beside = context.patience.round([
            lambda: load(ours, [neighbour], context.seconds, 0.5),
            lambda: load(ours, [polite, quick, neighbour], context.seconds,
                         0.5)])
        rounds.alone.append(alone)
        rounds.polite.append(beside)
    return rounds


def capacity_of(ours, name, bound_ns):
    """What the calibration found within the bound, the slower direction."""
    for device in ours.devices_now():
        if device["device"] == name:
            table = device["capacity"]
            return min(max((point["iops"] for point in table[direction]
                            if point["p99_ns"] <= bound_ns), default=0)
                       for direction in ("read", "write"))
    raise Missing(f"no device {name}")


def promise(ours, slas):
    """Add processes that are promised; admission has the last word."""
    for pasid, (vdev, sla) in enumerate(slas, 1):
        ours.ask("process", "add", str(pasid), "--vdev", vdev, "--name", vdev,
                 "--sla", sla)


def depth_for(ours, name, rate):
    """Requests under way that 'rate' takes if each takes as long as 99 of 100
    did when the device did all it can: 32, 64 or 128."""
    for device in ours.devices_now():
        if device["device"] == name:
            point = max(device["capacity"]["read"],
                        key=lambda point: point["iops"])
            need = rate * point["p99_ns"] / 1e9
            return 32 if need <= 32 else 64 if need <= 64 else 128
    raise Missing(f"no device {name}")


def modelled(context):
    """Row 8: promises on a device with a seeded service model."""
    bound_ns = 5000000
    with context.directory() as directory, \
            Penstock(directory, "[{name: n0, kind: nullio, size: 64GiB, "
                     f"model: {MODEL}}}]", promised_vdevs("n0", "8GiB")) \
            as ours:
        context.patience.wait()
        ours.ask("device", "calibrate", "ep0/n0")
        capacity = capacity_of(ours, "n0", bound_ns)
        rate = int(capacity * 0.3)
        promise(ours, [("rate", f"iops >= {rate}"),
                       ("quick", f"iops >= {rate}, latency <= 5 ms")])
        rounds = run_promises(context, ours, rate, bound_ns,
                              3 if context.quick else 5)
    return promise_rows(rounds, 2 * rate, [
        ("rate", [("iops_kept", f"iops >= {rate} (30 % of "
                   f"{count(capacity)} within 5 ms), QD 32")]),
        ("quick", [("iops_kept", "same rate, open loop"),
                   ("latency_kept", "latency p99 <= 5 ms, same process")]),
    ], "disk model")


def real_file(context):
    """Row 9: promises on a real file, up to 60 % of calibrated."""
    with context.directory("/var/tmp") as directory:
        path = os.path.join(directory, "disk.img")
        device = f"[{{name: f0, kind: file, path: {path}, size: 1GiB}}]"
        with Penstock(directory, device,
                      promised_vdevs("f0", "300MiB")) as ours:
            context.patience.wait()
            ours.ask("device", "calibrate", "ep0/f0")
            capacity = capacity_of(ours, "f0", 10**12)
            rate = int(capacity * 0.3)
            promise(ours, [("rate", f"iops >= {rate}"),
                           ("quick", f"iops >= {rate}")])
            depth = depth_for(ours, "f0", rate)
            rounds = run_promises(context, ours, rate, 0,
                                  3 if context.quick else 5, depth)
    return promise_rows(rounds, 2 * rate, [
        ("rate", [("iops_kept",
                   f"iops >= {rate} (30 % of {count(capacity)}), QD "
                   f"{depth}")]),
        ("quick", [("iops_kept", "same rate, open loop")]),
    ], "real file")


SPEED = 15      # so much faster than it was recorded
# Name, share of the trace's seconds whose rate is promised, latency in ms, and
# where in the trace's hour it begins: before the burst that is in it.
VMS = (("gold", 99.5, 5, 1745), ("silver", 99, 10, 1730),
       ("bronze", 98, 20, 1715))


def trace_rate(path, percent):
    """Requests a second that 'percent' of the trace's seconds don't exceed."""
    counts = collections.Counter()
    with open(path) as file:
        next(file)
        for line in file:
            counts[int(line.split(",", 1)[0])] += 1
    seconds = sorted(counts.get(i, 0) for i in range(max(counts) + 1))
    return seconds[math.ceil(len(seconds) * percent / 100) - 1]


def replay(context):
    """The trace of a real VM, by several VMs with different SLAs."""
    if not os.access(context.trace, os.R_OK):
        raise Missing(f"{context.trace} is not there")
    seconds, rounds = 10, 1 if context.quick else 5
    rates = {name: trace_rate(context.trace, percent) * SPEED
             for name, percent, _, _ in VMS}
    slas = [(name, f"iops >= {rates[name]}, latency <= {ms} ms")
            for name, _, ms, _ in VMS]
    vdevs = [{"name": name, "device": "n0", "size": "8GiB"}
             for name in list(rates) + ["noisy"]]
    with context.directory() as directory, \
            Penstock(directory, "[{name: n0, kind: nullio, size: 64GiB, "
                     f"model: {MODEL}}}]", vdevs) as ours:
        context.patience.wait()
        ours.ask("device", "calibrate", "ep0/n0")
        promise(ours, slas)
        jobs = [f"name={name},socket={ours.sockets[name]},depth=128,"
                f"replay={shift},promise={rates[name]},"
                f"promise-latency={ms * 1000000}"
                for name, _, ms, shift in VMS]
        jobs.append(f"name=noisy,socket={ours.sockets['noisy']},depth=256")
        results, = context.interleaved(
            lambda: load(ours, jobs, seconds, 0.5,
                         ["--replay", context.trace, "--speed", str(SPEED)]),
            rounds=rounds)
    rows = []
    for (name, percent, _, _), (_, sla) in zip(VMS, slas):
        row = Row(f"{name}: {sla}", "each kept in 99 % of 100 ms windows")
        kept = [Kept(results, name, key)
                for key in ("iops_kept", "latency_kept")]
        requests = sum(job_of(r, name)["requests"] for r in results)
        row.ours = (f"{requests:,} requests; rate kept in {kept[0].text()}; "
                    f"latency kept in {kept[1].text()}")
        row.note = f"the rate of {percent} % of the trace's seconds"
        judged = [k.met for k in kept]
        row.met = None if None in judged else all(judged)
        row.saw(results)
        rows.append(row)
    context.replayed = (f"{SPEED} times as fast as it was recorded, {rounds} "
                        f"times {seconds} s around its burst")
    rows.append(Row(
        "noisy: nothing promised, QD 256", "-",
        count(Series([iops(r, "noisy") for r in results]).median) +
        " IOPS, p99 " + micro(Series([latency(r, "noisy")["p99"]
                                      for r in results]).median)))
    return rows
