# SPDX-License-Identifier: Apache-2.0
"""Rows about limits, judged window by window by the client.

Beside them, in the same rounds, the best that this machine allows: a server
that polls always and answers each request when it is due.
"""
from measure import (Series, count, iops, job_of, load, micro, p50,
                     seconds_per_million)
from rows import NULLIO, ONE_VDEV, Row
from servers import Echo, Penstock, Qsd

# Windows of 100 ms that it takes to say something.
CLEAN_MIN = 10
# Seconds of the server for a million requests, at most.
CPU_BAR = 5


def worst(results, key, what="judged"):
    """The furthest that any window was off, in percent: judged (the machine's
    absence excused), or all of them as they were; None: none could be."""
    field = "judged_worst_percent" if what == "judged" else "worst_percent"
    values = [job_of(r)[key][field] for r in results
              if job_of(r)[key][what]]
    return max(values, key=abs) if values else None


def within(results, what="judged"):
    """How many of 100 windows of 10 ms were within 2 % of the target."""
    field = ("judged_within_2_percent" if what == "judged"
             else "within_2_percent")
    some = [job_of(r)["windows_10ms"] for r in results]
    windows = sum(k[what] for k in some)
    inside = sum(k[field] * k[what] for k in some)
    return inside / windows if windows else 0


def off_text(value, form):
    return "-" if value is None else format(value, form) + " %"


def windows_text(results, what):
    return (f"worst 100 ms "
            f"{off_text(worst(results, 'windows_100ms', what), '+.2f')}, "
            f"10 ms {off_text(worst(results, 'windows_10ms', what), '+.1f')}"
            f"; {within(results, what):.1f} % of 10 ms within 2 %")


def ideal_ns(limit):
    """How long a request takes at depth 32, if the limit is all there is."""
    return 32 / limit * 1e9


def median(results):
    return Series(map(p50, results)).median


def cpu(results):
    return Series(map(seconds_per_million, results)).median or 0


def limited_text(results, limit):
    middle = median(results)
    return (f"{count(Series(map(iops, results)).median)}; "
            f"{windows_text(results, 'judged')} (without any excuse: "
            f"{windows_text(results, 'windows')}); p50 "
            f"{micro(middle)} ({(middle / ideal_ns(limit) - 1) * 100:+.2f} "
            f"%); {cpu(results):.2f} s/M")


def off_windows(results, limit, bar):
    """Windows of 100 ms that were off by more than 'bar' percent, without any
    excuse, and how many of these had as much absence: of the client or the
    server in them or in the 10 ms before."""
    off = gone = 0
    for result in results:
        windows = job_of(result)["every_10ms"]
        for i in range(0, len(windows) - 9, 10):
            missing = (sum(done for done, *_ in windows[i:i + 10]) -
                       limit / 10)
            if abs(missing) <= limit / 10 * bar / 100:
                continue
            away = sum(us for *_, us in windows[max(i - 1, 0):i + 10])
            off += 1
            gone += away * 1e-6 * limit >= abs(missing) / 2
    return off, gone


def held_by(results, limit, bar):
    """What was seen where windows were off."""
    off, gone = off_windows(results, limit, bar)
    wakes = {key: sum(r["wakes"][key] for r in results)
             for key in results[0]["wakes"]}
    total = wakes["count"]
    late = total - wakes["within_200us"]
    later = total - wakes["within_1ms"]
    text = (f"others on the server's core or the client's: {off} windows of "
            f"100 ms were off by more than {bar} % without any excuse, and in "
            f"or before {gone} of them client or server was kept from running "
            f"for at least half as long as that; of {total:,} wake-ups "
            f"{late} were 0.2 ms late or more, {later} of them 1 ms")
    if cpu(results) > CPU_BAR:
        text += "; for CPU, wake-ups for few requests each"
    return text


def gaps_text(gaps):
    return (f"{sum(g['gaps'] for g in gaps)} gaps over 0.1 ms in its polling, "
            f"{sum(g['ns'] for g in gaps) / 1e6:.0f} ms in all, the longest "
            f"{max(g['worst_ns'] for g in gaps) / 1e6:.1f} ms")


def limit_row(limit, worst_bar, results, pacers, theirs, gaps):
    row = Row(f"limit of {limit:,} IOPS, QD 32",
              f"worst 100 ms window {worst_bar} %, 99 % of 10 ms windows "
              "within 2 %, p50 within 1 % of ideal, 5 s/M",
              holds=held_by(results, limit, worst_bar))
    row.ours = limited_text(results, limit)
    row.peer = (f"qemu-storage-daemon {limited_text(theirs, limit)}; a server "
                "that polls always and answers when it is due (bench-echo) "
                f"{limited_text(pacers, limit)}, {gaps_text(gaps)}")
    judged = sum(job_of(r)["windows_100ms"]["judged"] for r in results)
    total = sum(job_of(r)["windows_100ms"]["windows"] for r in results)
    if judged >= CLEAN_MIN:
        row.met = (abs(worst(results, "windows_100ms")) <= worst_bar and
                   within(results) >= 99 and
                   abs(median(results) / ideal_ns(limit) - 1) <= 0.01 and
                   cpu(results) <= CPU_BAR)
    row.note = (f"{judged} of {total} windows of 100 ms judged; in the others "
                "the machine was away for more than a fifth")
    row.numbers = {"limit": limit, "ours": job_of(results[-1])["every_10ms"],
                   "peer": job_of(theirs[-1])["every_10ms"]}
    row.saw(results, pacers, theirs)
    return row


def limits(context):
    """Row 6: how well a limit is kept, and what keeping it costs."""
    rows = []
    seconds = 1.5 if context.quick else 3
    for limit, worst_bar in ((20000, 0.2), (200000, 1)):
        processes = (f"[{{pasid: 1, name: bench, vdev: vd0, "
                     f"limit: {{iops: {limit}}}}}]")
        paced = []
        with context.directory() as directory, \
                Penstock(directory, NULLIO, ONE_VDEV, processes) as ours, \
                Echo(directory, limit) as echo, \
                Qsd(directory, [{"driver": "null-co",
                                 "limit": limit}]) as qsd:
            echo.park()

            def limited(server):
                return load(server, [
                    f"socket={server.socket},depth=32,target={limit}"],
                    seconds, 0.5, ["--windows"])

            def ours_limited():
                before = ours.wakes()
                result = limited(ours)
                after = ours.wakes()
                result["wakes"] = {k: after[k] - before[k] for k in after}
                return result

            def echo_limited():
                paced.append(limited(echo))
                return paced[-1]
            sides = context.interleaved(
                ours_limited, echo_limited, lambda: limited(qsd),
                rounds=max(context.rounds - 2, 2))
            gaps = echo.gaps(len(paced))
        rows.append(limit_row(limit, worst_bar, *sides, gaps))
    return rows
