# SPDX-License-Identifier: Apache-2.0
"""Was the machine itself there?

Others on the same hardware take its cores away, for milliseconds and in waves
of minutes; a slice that this touches says little about who is measured.  So
slices have witnesses: each says for what share of it the machine was away, and
the greatest counts.  What is compared with each other is measured in one
round, and a round in which one of its slices was disturbed is taken again,
whatever it showed and whoever was measured.
"""
import json
import multiprocessing
import os
import resource
import subprocess
import time

from servers import CLIENT_CORE, PRIORITY, SERVER_CORE, program

CORES = (SERVER_CORE, CLIENT_CORE)
# Percent of a slice: beyond it the slice is disturbed.
AWAY_MOST = 2.0
# A round is taken so often at most, however much patience there is.
TRIES_MOST = 6
# Who polls for so long did not run, as for bench-load.
GAP_NS = 50000
PROBE_NS = 100000000
TICK = os.sysconf("SC_CLK_TCK")


def stolen():
    """Ticks that the hypervisor took from each of CORES, as far as it says."""
    found = dict.fromkeys(CORES, 0)
    with open("/proc/stat") as file:
        for line in file:
            words = line.split()
            if words[0][3:] in found and words[0].startswith("cpu"):
                found[words[0][3:]] = int(words[8])
    return found


class Slice:
    """Around what is measured; 'gone': what each witness said, in percent."""

    def __enter__(self):
        self.gone = {}
        self.stolen, self.began = stolen(), time.monotonic()
        return self

    def say(self, witness, seconds, of):
        self.gone[witness] = 100 * min(max(seconds / of, 0), 1)

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
        for core, ticks in stolen().items():
            # Most of the first tick may be from before.
            self.say(f"steal of core {core}",
                     (ticks - self.stolen[core] - 1) / TICK, self.seconds)


def alone(path, *options):
    """Run a program that only computes, on the server's core; its JSON and, as
    'gone', what the witnesses say: it never waits, so it is one of them."""
    def ran():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    before = ran()
    with Slice() as piece:
        done = subprocess.run(
            PRIORITY + ["taskset", "-c", SERVER_CORE, program(path), "--json",
                        *options],
            capture_output=True, text=True, check=True, timeout=120)
    piece.say("the bare program did not run", piece.seconds - (ran() - before),
              piece.seconds)
    return {"found": json.loads(done.stdout), "gone": piece.gone}


def disturbed(results):
    """By how much the worst of some slices was, in percent."""
    return max(max(result["gone"].values()) for result in results)


def spin(core, found):
    os.sched_setaffinity(0, {int(core)})
    if PRIORITY:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    begin = last = time.perf_counter_ns()
    gone = 0
    while last < begin + PROBE_NS:
        now = time.perf_counter_ns()
        if now - last > GAP_NS:
            gone += now - last
        last = now
    found.put(100 * gone / (last - begin))


def probe():
    """Both cores kept busy for a moment: for how much of it they were away."""
    fork = multiprocessing.get_context("fork")
    found = fork.SimpleQueue()
    children = [fork.Process(target=spin, args=(core, found))
                for core in CORES]
    for child in children:
        child.start()
    shares = [found.get() for _ in children]
    for child in children:
        child.join()
    return max(shares)


class Patience:
    """For how long the whole run may wait for a quiet machine and measure
    again, and how that went."""

    def __init__(self, seconds):
        self.left = self.allowed = seconds
        self.rounds = self.again = self.short = 0
        self.waited = 0.0
        self.why = {}

    def share(self, part):
        """What is measured next is 'part' of all that is left to measure: it
        may use up three times its part of the patience."""
        self.allowed = self.left * min(3 * part, 1)

    def spend(self, since):
        """Returns whether there is any left."""
        seconds = time.monotonic() - since
        self.left -= seconds
        self.allowed -= seconds
        self.waited += seconds
        return min(self.left, self.allowed) > 0

    def wait(self):
        """Until both cores are there, for a moment at least."""
        while self.allowed > 0:
            began = time.monotonic()
            quiet = probe() <= AWAY_MOST
            if not quiet:
                print("~", end="", flush=True)
                # Nothing tells when such a wave is over.
                time.sleep(1)
            if not self.spend(began) or quiet:
                return

    def round(self, takes, turned=False):
        """Measure each of 'takes' once, from the last if 'turned'; their
        results in the order given.  A disturbed round is taken again while
        patience lasts; then the least disturbed counts."""
        rounds = []
        while True:
            self.wait()
            began = time.monotonic()
            order = range(len(takes))
            results = {i: takes[i]() for i in (order[::-1] if turned
                                               else order)}
            rounds.append([results[i] for i in order])
            if disturbed(rounds[-1]) <= AWAY_MOST:
                break
            worst = max(rounds[-1], key=lambda r: disturbed([r]))["gone"]
            witness = max(worst, key=worst.get)
            if self.allowed <= 0 or len(rounds) == TRIES_MOST:
                self.short += 1
                break
            self.why[witness] = self.why.get(witness, 0) + 1
            self.again += 1
            self.spend(began)
        self.rounds += 1
        return min(rounds, key=disturbed)

    def text(self):
        """For the head of the table."""
        why = ", ".join(f"{witness} {times}" for witness, times in
                        sorted(self.why.items(), key=lambda w: -w[1]))
        return (f"{self.rounds} rounds counted; {self.again} more were taken "
                f"again{f' ({why})' if why else ''}, "
                f"{self.waited / 60:.1f} minutes were spent on that and on "
                f"waiting; in {self.short} rounds that was not enough, and "
                "the least disturbed counts")
