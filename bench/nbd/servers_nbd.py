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
    """nbdkit's null plugin; by TLS, with the keys of this file."""
    export = ""

    def __init__(self, directory, psk=None):
        super().__init__(directory)
        self.psk = psk

    def start(self):
        self.socket = os.path.join(self.directory, "nbdkit.sock")
        try:
            tls = ["--tls=require", f"--tls-psk={self.psk}"]
            self.spawn(["nbdkit", "--foreground", "--unix", self.socket,
                        *(tls if self.psk else []), "null", "8G"],
                       "nbdkit.log")
        except FileNotFoundError as error:
            raise Missing("nbdkit is not installed") from error

        def listens():
            self.alive("nbdkit.log")
            return os.path.exists(self.socket)
        wait_until("nbdkit", listens, 10)


class QsdNbd(Server):
    """qemu-storage-daemon's NBD server: of 'path', a file, of 'far', the
    socket of another NBD server, or of its null-co.  Without an iothread: with
    one, 7.2 ends when a client does (nbd_blockdev_client_closed)."""
    export = "disk"

    def __init__(self, directory, path=None, far=None):
        super().__init__(directory)
        self.path, self.far = path, far

    def start(self):
        self.socket = os.path.join(self.directory, "qsd-nbd.sock")
        spec = (f"driver=file,filename={self.path},aio=io_uring" if self.path
                else "driver=null-co,size=8589934592,read-zeroes=false")
        if self.far:
            spec = f"driver=nbd,server.type=unix,server.path={self.far}"
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
