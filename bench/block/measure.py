# SPDX-License-Identifier: Apache-2.0
"""Running bench-load, and what is made of several rounds of it."""
import json
import statistics
import subprocess

from machine import Slice
from servers import CLIENT_CORE, PRIORITY, Missing, program


def load(server, jobs, seconds, warmup=0.3, options=(),
         client="bench/bench-load"):
    """Run 'jobs' (text, socket= included) for so long; returns its JSON with
    'gone', what the witnesses say.

    If a job got nothing at all, the machine was away all the time: again.
    """
    command = PRIORITY + [
        "taskset", "-c", CLIENT_CORE, program(client), "--json",
        "--duration", str(seconds), "--warmup", str(warmup)]
    if server is not None:
        command += ["--server", str(server.pid)]
    for _ in range(3):
        if server is not None:
            server.unpark()
        with Slice() as piece:
            done = subprocess.run(command + list(options) + list(jobs),
                                  capture_output=True, text=True, check=False,
                                  timeout=seconds + warmup + 60)
        if server is not None:
            server.park()
        print(".", end="", flush=True)
        if done.returncode != 0:
            raise Missing(done.stderr.strip() or f"{client} failed")
        result = json.loads(done.stdout)
        say_away(piece, result)
        result["gone"] = piece.gone
        if all(job["requests"] for job in result["jobs"]):
            return result
    raise Missing(f"a job got nothing three times in {seconds} s")


def say_away(piece, result):
    """What bench-load saw of the machine's absence."""
    seconds = result["seconds"]
    piece.say("the client did not run", result["away"]["ns"] / 1e9,
              seconds)
    # A server whose own threads keep each other waiting is not disturbed.
    idle = seconds - result.get("server_cpu_ns", 0) / 1e9
    piece.say("the server waited", min(
        result["away"]["server_waited_ns"] / 1e9, idle), seconds)


def job_of(result, name=None):
    """The job of that name, or the only one."""
    for job in result["jobs"]:
        if name is None or job["name"] == name:
            return job
    raise KeyError(name)


def iops(result, name=None):
    return job_of(result, name)["iops"]


def latency(result, name=None):
    """While the machine was not away, if there was enough of that."""
    job = job_of(result, name)
    clean = job["clean_latency_ns"]
    return clean if clean["count"] >= 100 else job["latency_ns"]


def p50(result):
    """Of all requests: without those under way while the machine was away the
    slow ones would be too few."""
    return job_of(result)["latency_ns"]["p50"]


def seconds_per_million(result):
    """CPU seconds of the server for a million requests."""
    requests = sum(job["requests"] for job in result["jobs"])
    if not requests or "server_cpu_ns" not in result:
        return None
    return result["server_cpu_ns"] / 1000 / requests


class Series:
    """Values of the same thing in several rounds."""

    def __init__(self, values):
        self.values = [value for value in values if value is not None]

    @property
    def median(self):
        return statistics.median(self.values) if self.values else None

    def interval(self, form):
        """'median (low to high)', in which the true median is in 95 of 100
        cases, whatever the distribution: two of the sorted values."""
        values, n = sorted(self.values), len(self.values)
        below, at = 0.0, 0.5 ** n
        rank = 0        # of the values at each end, so many are outside
        while below + at <= 0.025:
            below += at
            at *= (n - rank) / (rank + 1)
            rank += 1
        first = max(rank - 1, 0)
        return (f"{form(self.median)} ({form(values[first])} to "
                f"{form(values[n - 1 - first])})")

    def text(self, form):
        """'median (min to max)', each by 'form'."""
        if not self.values:
            return "-"
        if len(self.values) == 1:
            return form(self.values[0])
        return (f"{form(self.median)} ({form(min(self.values))} to "
                f"{form(max(self.values))})")


def count(value):
    """A rate for people: 2.73 M, 302 k, 54."""
    if value >= 999500:
        return f"{value / 1e6:.2f} M"
    if value >= 9995:
        return f"{value / 1e3:.0f} k"
    if value >= 1000:
        return f"{value / 1e3:.1f} k"
    return f"{value:.0f}"


def micro(nanoseconds):
    value = nanoseconds / 1000
    return f"{value:.2f} µs" if value < 10 else f"{value:.0f} µs"


def times(ratio):
    return f"{ratio:.2f} ×"


def percent(value):
    return f"{value:.1f} %"
