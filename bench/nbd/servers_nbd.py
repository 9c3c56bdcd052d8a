# SPDX-License-Identifier: Apache-2.0
"""Servers of NBD that ours is compared with; as bench/block/servers.py."""
import os

from servers import Missing, Server, program, wait_until


class Bare(Server):
    """bench-nbd-bare: a socket and nothing behind it."""
    polls_always = True
    export = ""

    def start(self):
        self.socket = os.path.join(self.directory, "bare.sock")
        self.spawn([program("bench/bench-nbd-bare"), self.socket], "bare.log")

        def listens():
            self.alive("bare.log")
            return os.path.exists(self.socket)
        wait_until("bench-nbd-bare", listens, 10)


class Nbdkit(Server):
    """nbdkit's null plugin."""
    export = ""

    def start(self):
        self.socket = os.path.join(self.directory, "nbdkit.sock")
        try:
            self.spawn(["nbdkit", "--foreground", "--unix", self.socket,
                        "null", "8G"], "nbdkit.log")
        except FileNotFoundError as error:
            raise Missing("nbdkit is not installed") from error

        def listens():
            self.alive("nbdkit.log")
            return os.path.exists(self.socket)
        wait_until("nbdkit", listens, 10)


class QsdNbd(Server):
    """qemu-storage-daemon's NBD server: 'path' of a file, or None for its
    null-co.  Without an iothread: with one, 7.2 ends when a client does
    (nbd_blockdev_client_closed)."""
    export = "disk"

    def __init__(self, directory, path=None):
        super().__init__(directory)
        self.path = path

    def start(self):
        self.socket = os.path.join(self.directory, "qsd-nbd.sock")
        spec = (f"driver=file,filename={self.path},aio=io_uring" if self.path
                else "driver=null-co,size=8589934592,read-zeroes=false")
        try:
            self.spawn([
                "qemu-storage-daemon", "--blockdev", f"{spec},node-name=n0",
                "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
                "--export", "type=nbd,id=e0,node-name=n0,name=disk,"
                "writable=on"], "qsd-nbd.log")
        except FileNotFoundError as error:
            raise Missing("qemu-storage-daemon is not installed") from error

        def listens():
            self.alive("qsd-nbd.log")
            return os.path.exists(self.socket)
        wait_until("qemu-storage-daemon", listens, 10)
