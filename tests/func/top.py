#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""penstock top on a terminal: what it draws, which keys end it, and that the
terminal is as it was, whatever ends it.  top.py PENSTOCK FAKE-PENSTOCKD"""
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios

LEAVES = b"\x1b[?1049l"     # xterm's other screen is gone
PATIENCE_S = 60


def fail(text, seen=b""):
    print(f"top: {text}\n-- seen: {seen!r}")
    sys.exit(1)


class Terminal:
    """penstock top with a terminal of its own."""

    def __init__(self, program, socket, *options):
        environment = dict(os.environ, TERM="xterm", PENSTOCK_API=socket,
                           LC_ALL="C.UTF-8")
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program, [program, "top", *options], environment)
        self.size(40, 160)

    def size(self, lines, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack("HHHH", lines, columns, 0, 0))

    def more(self):
        """False: it has ended."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:     # the other end is closed
            return False
        self.seen += data
        return bool(data)

    def draws(self, *words):
        """Wait until it has drawn all of them since the last time."""
        while not all(word.encode() in self.seen for word in words):
            if not self.more():
                fail(f"ended without {words}", self.seen)
        self.seen = b""

    def types(self, keys):
        os.write(self.fd, keys)

    def ends(self, status):
        """Returns what it said after it had left its screen."""
        while self.more():
            pass
        ended = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        if ended != status:
            fail(f"ended with {ended} instead of {status}", self.seen)
        if LEAVES not in self.seen:
            fail("left the terminal as no shell wants it", self.seen)
        return self.seen.rsplit(LEAVES, 1)[1].decode()


def check(program, server, socket):
    hour = ("--interval", "3600")
    subprocess.run([program, "--api", socket, "process", "add", "5", "--vdev",
                    "vd0", "--name", "web", "--sla", "iops >= 1200"],
                   check=True, stdout=subprocess.DEVNULL)

    top = Terminal(program, socket, *hour)
    top.draws("alpha:", "kept", "(q ends)", "PROMISED", "iops >= 1200",
              "web")
    top.types(b"q")
    top.ends(0)

    # Arrows are no end, and another size is drawn at once.
    top = Terminal(program, socket, *hour)
    top.draws("(q ends)")
    top.types(b"\x1bOA\x1bOB")
    top.draws("")
    top.size(20, 90)
    top.draws("alpha:", "PROMISED")
    top.types(b"Q")
    top.ends(0)

    top = Terminal(program, socket, "--count", "2", "--interval", "0.05")
    top.ends(0)

    top = Terminal(program, socket, *hour)
    top.draws("(q ends)")
    top.types(b"\x03")
    top.ends(1)

    # Why it ended stays readable.
    top = Terminal(program, socket, "--interval", "0.05")
    top.draws("(q ends)")
    server.stdin.close()
    server.wait(PATIENCE_S)
    if socket not in top.ends(1):
        fail("does not say that penstockd is gone", top.seen)


def main():
    program, fake = map(os.path.realpath, sys.argv[1:3])
    signal.alarm(PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="penstock-top-") as directory:
        socket = os.path.join(directory, "api.sock")
        # It serves for as long as its command runs.
        with subprocess.Popen([fake, socket, "sh", "-c", "echo there; cat"],
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            check(program, server, socket)
    print("top: everything is as it should be")


main()
