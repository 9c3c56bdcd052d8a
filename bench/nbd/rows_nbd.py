# SPDX-License-Identifier: Apache-2.0
"""The rows of ./run bench nbd: each measures and compares with its bar."""
import os
import secrets

from measure import Series, count, iops, job_of, load, percent, times
from rows import (LOOSE, NULLIO, TMPFS_SPAN, Row, cpu_text, tmpfs_images,
                  tmpfs_row)
from servers import Penstock
from servers_nbd import Bare, Nbdkit, QsdNbd

CLIENT = "bench/bench-nbd-load"
VDEV = [{"name": "vd0", "device": "n0", "size": "8GiB", "way": "nbd"}]


def loads(context, server, *options):
    """What measures the server once, with these options of the client."""
    where = [server.socket, getattr(server, "export", "vd0")]
    return lambda: load(server, where, context.seconds, options=options,
                        client=CLIENT)


def rate_row(row, ours, peers, wanted):
    """Compare with 'wanted' times the better of 'peers' (name: results)."""
    names = list(peers)
    medians = {name: Series(map(iops, peers[name])).median for name in names}
    best = max(names, key=medians.get)
    ratio = Series([iops(a) / iops(b) for a, b in zip(ours, peers[best])])
    row.ours = Series(map(iops, ours)).text(count) + cpu_text(ours)
    row.peer = "; ".join(
        f"{name} {Series(map(iops, peers[name])).text(count)}"
        f"{cpu_text(peers[name])}" for name in names)
    row.peer += f"; ratio to {best} {ratio.text(times)}"
    row.met = ratio.median >= wanted
    row.numbers = {"ours": [iops(r) for r in ours],
                   "peer": [iops(r) for r in peers[best]], "wanted": wanted}
    row.saw(ours, *peers.values())
    return row


def nullio(context):
    """4 KiB at QD 32, read and write."""
    rows = []
    with context.directory() as directory, \
            Penstock(directory, NULLIO, VDEV, LOOSE) as ours, \
            Nbdkit(directory) as nbdkit, QsdNbd(directory) as qsd:
        for name, options in (("read", ()), ("write", ("--write",))):
            row = Row(f"nullio, 4 KiB random {name}, QD 32, one connection, "
                      "unix socket, SLA enforced",
                      "1.5 × the better of nbdkit's null and "
                      "qemu-storage-daemon's null-co",
                      holds="the kernel's copying through the socket and "
                      "waking of who waits for it")
            mine, kit, theirs = context.interleaved(*[
                loads(context, server, *options)
                for server in (ours, nbdkit, qsd)])
            rows.append(rate_row(row, mine, {
                "nbdkit": kit, "qemu-storage-daemon": theirs}, 1.5))
    return rows


def bandwidth(result):
    return job_of(result)["bytes_per_s"]


def giga(value):
    return f"{value / 1e9:.2f} GB/s"


def sequential(context):
    """128 KiB in a row against a bare socket with the same buffers."""
    rows = []
    with context.directory() as directory, \
            Penstock(directory, NULLIO, VDEV, LOOSE) as ours, \
            Bare(directory) as bare:
        bare.park()
        for name, options in (("read", ()), ("write", ("--write",))):
            row = Row(f"nullio, 128 KiB sequential {name}, QD 32",
                      "85 % of a bare socket with the same buffers",
                      holds="nothing but copying; what differs is how it "
                      "falls into the caches")
            options += ("--bs", "131072", "--sequential")
            mine, theirs = context.interleaved(*[
                loads(context, server, *options) for server in (ours, bare)])
            share = Series([bandwidth(a) / bandwidth(b) * 100
                            for a, b in zip(mine, theirs)])
            row.ours = Series(map(bandwidth, mine)).text(giga)
            row.peer = (f"bare {Series(map(bandwidth, theirs)).text(giga)}; "
                        f"share {share.text(percent)}")
            row.met = share.median >= 85
            row.saw(mine, theirs)
            rows.append(row)
    return rows


def tmpfs(context):
    """A file on tmpfs, 4 KiB at QD 32."""
    with tmpfs_images(context, way="nbd") as (
            directory, devices, vdevs, theirs), \
            Penstock(directory, devices, vdevs, LOOSE) as ours, \
            QsdNbd(directory, theirs) as qsd:
        results = context.interleaved(*[
            loads(context, server, "--span", str(TMPFS_SPAN))
            for server in (ours, qsd)])
    return [rate_row(tmpfs_row(), results[0],
                     {"qemu-storage-daemon": results[1]}, 1.5)]


def tls(context):
    """By TLS with shared keys: what encryption costs, 4 KiB and 128 KiB."""
    rows = []
    long = ("--bs", "131072", "--sequential")
    with context.directory() as directory:
        psk = os.path.join(directory, "keys.psk")
        with open(psk, "w") as file:
            file.write(f"bench:{secrets.token_hex(32)}\n")
        vdev = [VDEV[0] | {"psk": psk, "size": "1GiB"}]
        with Penstock(directory, NULLIO, vdev, LOOSE) as ours, \
                Nbdkit(directory, psk) as nbdkit:
            for name, options in (
                    ("4 KiB random read", ()),
                    ("128 KiB sequential read", long),
                    ("128 KiB sequential write", long + ("--write",))):
                row = Row(f"nullio by TLS (PSK), {name}, QD 32, one "
                          "connection, unix socket",
                          "none: beside nbdkit's null with TLS")
                mine, theirs = context.interleaved(*[
                    loads(context, server, "--psk", psk, *options)
                    for server in (ours, nbdkit)])
                rows.append(rate_row(row, mine, {"nbdkit": theirs}, 0))
                row.met = None
    return rows


def client(context):
    """4 KiB at QD 32 through both to an export of another server."""
    rows = []
    with context.directory() as directory, Nbdkit(directory) as far:
        device = ("[{name: r0, kind: nbd, unflushed: lost, "
                  f"uri: 'nbd+unix:///?socket={far.socket}'}}]")
        vdev = [{"name": "vd0", "device": "r0", "size": "4GiB",
                 "way": "nbd"}]
        with Penstock(directory, device, vdev, LOOSE) as ours, \
                QsdNbd(directory, far=far.socket) as qsd:
            for name, options in (("read", ()), ("write", ("--write",))):
                row = Row(f"an export of nbdkit's null as a device, 4 KiB "
                          f"random {name}, QD 32, served by NBD",
                          "none: beside qemu-storage-daemon's client")
                mine, theirs = context.interleaved(*[
                    loads(context, server, "--span", "4294967296", *options)
                    for server in (ours, qsd)])
                rows.append(rate_row(row, mine,
                                     {"qemu-storage-daemon": theirs}, 0))
                row.met = None
    return rows
