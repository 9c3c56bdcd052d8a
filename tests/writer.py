# SPDX-License-Identifier: Apache-2.0
"""Writes 64 KiB here and there, each with its number, until it is told to end
(SIGTERM); connects again when it is lost; then everything acknowledged is
looked at.  Arguments: the NBD URI, and how many MiB of it are written to."""
import nbd, random, select, signal, sys
SIZE, BYTES = int(sys.argv[2]) << 20, 64 << 10
random.seed(1)
ended = False
def end(*_):
    global ended
    ended = True
signal.signal(signal.SIGTERM, end)
def connect():
    while True:
        try:
            h = nbd.NBD()
            h.connect_uri(sys.argv[1])
            return h
        except nbd.Error:
            select.select([], [], [], 0.05)
def data(number):
    return number.to_bytes(8, "little") * (BYTES // 8)
h = connect()
acknowledged, number, last = {}, 0, None
def doing(what):
    global h
    while True:
        try:
            return what()
        except nbd.Error:
            h = connect()
while not ended:
    number += 1
    at = random.randrange(SIZE // BYTES) * BYTES
    doing(lambda: h.pwrite(data(number), at, nbd.CMD_FLAG_FUA))
    acknowledged[at] = number
    if number == 300:
        print("there", flush=True)
for at, is_number in acknowledged.items():
    if doing(lambda: h.pread(BYTES, at)) != data(is_number):
        sys.exit("write %d at %d is not there" % (is_number, at))
print(number, "writes", flush=True)
h.shutdown()
