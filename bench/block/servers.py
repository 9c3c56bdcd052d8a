# SPDX-License-Identifier: Apache-2.0
"""Servers that are measured: each starts, says its pid and sockets, stops.

All run on core 0.  A server that polls even when nobody asks is stopped by
signal while another one is measured (park, unpark).
"""
import json
import os
import signal
import subprocess
import time

BUILD = os.environ.get("PENSTOCK_BUILD", "build")
SERVER_CORE, CLIENT_CORE = "0", "1"
# With --realtime, so that what else the machine does disturbs little, whoever
# is measured; on an idle machine it makes no difference.
PRIORITY = []


class Missing(Exception):
    """A server can't be started here; the reason is for the report."""


def program(path):
    full = os.path.join(BUILD, path)
    if not os.access(full, os.X_OK):
        raise Missing(f"{full} is not built")
    return full


def wait_until(what, condition, seconds=30):
    """Poll 'condition' until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Missing(f"waited {seconds} s for {what}")
        # Neither a socket that others make nor an answer of a daemon that
        # is starting can be waited for.
        time.sleep(0.02)


class Server:
    polls_always = False

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.pid = None

    def spawn(self, command, log):
        with open(os.path.join(self.directory, log), "ab") as output:
            self.process = subprocess.Popen(
                PRIORITY + ["taskset", "-c", SERVER_CORE] + command,
                stdout=output, stderr=output)
        self.pid = self.process.pid

    def alive(self, log):
        if self.process.poll() is None:
            return
        with open(os.path.join(self.directory, log), errors="replace") as text:
            lines = text.read().strip().splitlines()
        raise Missing(lines[-1] if lines else "the server ended at once")

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def park(self):
        if self.polls_always:
            self.process.send_signal(signal.SIGSTOP)

    def unpark(self):
        if self.polls_always:
            self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


class Echo(Server):
    """bench-echo; with 'limit' each request is answered when it is due."""
    polls_always = True

    def __init__(self, directory, limit=0):
        super().__init__(directory)
        self.limit = limit

    def start(self):
        self.socket = os.path.join(self.directory, "echo.sock")
        options = [f"--limit={self.limit}"] if self.limit else []
        self.spawn([program("bench/bench-echo")] + options + [self.socket],
                   "echo.log")

        def listens():
            self.alive("echo.log")
            return os.path.exists(self.socket)
        wait_until("bench-echo", listens, 10)

    def gaps(self, clients):
        """Of a limited one: what it told of gaps in its polling as each of so
        many clients left."""
        self.unpark()

        def told():
            with open(os.path.join(self.directory, "echo.log")) as log:
                return [json.loads(line) for line in log if line[0] == "{"]
        wait_until("bench-echo to tell", lambda: len(told()) >= clients)
        self.park()
        return told()


class Qsd(Server):
    """qemu-storage-daemon: one iothread, a disk for each entry of 'disks'.

    An entry has 'driver' (null-co, or file with 'path') and perhaps 'limit',
    the total IOPS of a throttle group (0: none).
    """

    def __init__(self, directory, disks):
        super().__init__(directory)
        self.disks = disks
        self.sockets = []

    def start(self):
        command = ["qemu-storage-daemon", "--object", "iothread,id=io0"]
        for i, disk in enumerate(self.disks):
            node = f"n{i}"
            if disk["driver"] == "null-co":
                spec = "driver=null-co,size=68719476736,read-zeroes=false"
            else:
                cache = "on" if disk.get("direct") else "off"
                spec = (f"driver=file,filename={disk['path']},aio=io_uring,"
                        f"cache.direct={cache}")
            command += ["--blockdev", f"{spec},node-name={node}"]
            if disk.get("limit"):
                command += [
                    "--object",
                    f"throttle-group,id=tg{i},x-iops-total={disk['limit']}",
                    "--blockdev", f"driver=throttle,node-name=t{i},"
                    f"throttle-group=tg{i},file={node}"]
                node = f"t{i}"
            path = os.path.join(self.directory, f"qsd{i}.sock")
            self.sockets.append(path)
            command += [
                "--export", f"type=vhost-user-blk,id=e{i},node-name={node},"
                f"addr.type=unix,addr.path={path},writable=on,num-queues=1,"
                "iothread=io0"]
        try:
            self.spawn(command, "qsd.log")
        except FileNotFoundError as error:
            raise Missing("qemu-storage-daemon is not installed") from error

        def listens():
            self.alive("qsd.log")
            return all(os.path.exists(path) for path in self.sockets)
        wait_until("qemu-storage-daemon", listens, 10)
        self.socket = self.sockets[0]


class Penstock(Server):
    """penstockd with one endpoint on core 0; 'pid' is the endpoint's.

    'devices' is the YAML of the devices, 'vdevs' a list of dictionaries with
    'name', 'device', 'size', and perhaps 'way' (nbd instead of vhost-user),
    'thin' (so are all on its device) and 'empty' (not written before it is
    measured); 'processes' is the YAML of the processes.
    """

    def __init__(self, directory, devices, vdevs, processes="[]"):
        super().__init__(directory)
        self.devices, self.vdevs, self.processes = devices, vdevs, processes
        self.api = os.path.join(directory, "api.sock")
        self.sockets = {}

    def configuration(self):
        pools = sorted({vdev["device"] for vdev in self.vdevs})
        lines = ["host: bench",
                 f"state: {self.directory}/state",
                 f"api: {{unix: {self.api}}}",
                 "endpoints:",
                 f"  - {{name: ep0, cpu: {SERVER_CORE}, "
                 f"realtime: {str(bool(PRIORITY)).lower()}, "
                 f"devices: {self.devices}}}",
                 "pools:"]
        thin = {vdev["device"] for vdev in self.vdevs if vdev.get("thin")}
        lines += [f"  - {{name: pool-{name}, devices: [ep0/{name}], "
                  f"provisioning: {'thin' if name in thin else 'thick'}}}"
                  for name in pools]
        lines.append("vdevs:")
        for vdev in self.vdevs:
            path = os.path.join(self.directory, vdev["name"] + ".sock")
            self.sockets[vdev["name"]] = path
            way = f"vhost-user: {path}"
            if vdev.get("psk"):
                way = (f"nbd: {{listen: 'unix:{path}', "
                       f"tls: {{psk: {vdev['psk']}}}}}")
            elif vdev.get("way") == "nbd":
                way = f"nbd: 'unix:{path}'"
            lines.append(
                f"  - {{name: {vdev['name']}, endpoint: ep0, "
                f"pool: pool-{vdev['device']}, size: {vdev['size']}, "
                f"queues: 1, {way}}}")
        lines.append(f"processes: {self.processes}")
        return "\n".join(lines) + "\n"

    def ask(self, *command):
        """The JSON that the command line answers with."""
        done = subprocess.run(
            [program("bin/penstock"), "--api", self.api, *command, "--json"],
            capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Missing(done.stderr.strip() or "penstock failed")
        return json.loads(done.stdout)

    def start(self):
        daemon = program("bin/penstockd")
        path = os.path.join(self.directory, "penstock.yaml")
        with open(path, "w") as file:
            file.write(self.configuration())
        self.spawn([daemon, "--config", path], "penstockd.log")
        self.daemon_pid = self.pid

        def serves():
            self.alive("penstockd.log")
            try:
                status = self.ask("status")
            except (Missing, ValueError):
                return False
            if not all(vdev["state"] == "serving"
                       for vdev in self.vdevs_now()):
                return False
            self.pid = status["endpoints"][0]["pid"]
            return True
        wait_until("penstockd to serve", serves)
        refused = [p for p in self.processes_now() if p["state"] == "refused"]
        if refused:
            raise Missing("refused: " + "; ".join(
                f"{p['name']}: {p.get('reason')}" for p in refused))
        if self.sockets:
            self.socket = next(iter(self.sockets.values()))
        self.write_all()

    def write_all(self):
        """Write each vdev wholly: what nobody wrote is answered without the
        device, and that is not what is measured."""
        self.ask("enforce", "off")
        for vdev in self.vdevs:
            if not vdev.get("empty"):
                self.write(vdev, self.sockets[vdev["name"]])
        self.ask("enforce", "on")

    def write(self, vdev, path):
        name = vdev["name"]
        if vdev.get("way") == "nbd":
            command = [program("bench/bench-nbd-load"), "--write",
                       "--sequential", "--bs", "1048576", "--depth", "8",
                       "--duration", "60", path, name]
            if vdev.get("psk"):
                command[1:1] = ["--psk", vdev["psk"]]
        else:
            command = [program("bench/bench-load"), "--duration", "60",
                       f"socket={path},bs=1048576,depth=8,read=0,sequential"]

        def is_written():
            if writer.poll() is not None:
                raise Missing(f"vdev {name} can't be written")
            return any(now["name"] == name and
                       now["allocated_bytes"] == now["size_bytes"]
                       for now in self.vdevs_now())
        with open(os.path.join(self.directory, "write.log"), "ab") as output:
            writer = subprocess.Popen(["taskset", "-c", CLIENT_CORE] + command,
                                      stdout=output, stderr=output)
        try:
            wait_until(f"vdev {name} to be written", is_written)
        finally:
            writer.terminate()
            writer.wait()

    def wakes(self):
        """How often the endpoint woke up, by how late."""
        return self.ask("status")["endpoints"][0]["wakes"]

    def listed(self, what):
        """A listing may be bare or inside an object of its own name."""
        found = self.ask(what, "list")
        return found[what + "s"] if isinstance(found, dict) else found

    def vdevs_now(self):
        return self.listed("vdev")

    def processes_now(self):
        return self.listed("process")

    def devices_now(self):
        return self.listed("device")

    def pools_now(self):
        return self.listed("pool")


def cpu_ns(pid):
    """CPU time of all threads of a process so far."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        except OSError:
            pass
    return total
