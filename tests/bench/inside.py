# SPDX-License-Identifier: ISC
"""inside.py: workloads that measure themselves, inside a guest and, but for I/O, on the host too. They print
"BENCH name class value unit checksum"; a checksum that differs between two of them is a wrong result."""
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time

from machine import HERE, Machine, note, tool
from guestprofile import Profile

DISK = ["--name", "programs", "--include",
        "gzip,xz-utils,sqlite3,python3-minimal,gcc,libc6-dev,make,openssl,sysbench,p7zip-full,fio,iperf3"]
# What apt-get is to install: packages that need no others
INSTALLED = ["hello", "bc"]


class Taker:
    """Reads the lines of one workload, of whatever host."""

    def __init__(self, bench, workload):
        self.bench, self.workload, self.sums = bench, workload, {}

    def take(self, host, text):
        for failed in re.findall(r"BENCH-FAILED (.*)", text):
            note(f"bench: {self.workload}: {host}: {failed.strip()}")
            self.bench.failed = True
        for name, cls, value, unit, checksum in re.findall(r"BENCH (\S+) (\S+) ([0-9.]+) (\S+) ([0-9a-f]{16}|-)", text):
            if self.sums.setdefault(name, checksum) != checksum:
                note(f"bench: {self.workload} {name}: {host}: WRONG RESULT {checksum}, expected {self.sums[name]}")
                self.bench.failed = True
                continue
            if host == "native" and cls == "translate":
                continue  # there is nothing to be compared with
            self.bench.add(f"{self.workload} {name}", cls, unit, host, float(value))


def run(bench, workload, guest_command, initrd, do, native=None, disks=(), timeout=900, tap=None, append="", rows=None):
    """guest_command: words. do: functions of the initramfs's init. native: the host's command, or None. rows: None: the bench's."""
    taker = Taker(bench, workload)
    kernel = tool("guest-kernel")
    rows = bench.rows if rows is None else rows
    words = ",".join(guest_command + rows)

    def one(host):
        with Machine(bench.hosts.command(host, kernel, initrd,
                                         f"console=ttyS0 quiet vigia.run={do} vigia.end=shell "
                                         f"vigia.bench={words}{append}", disks, tap=tap)) as m:
            m.expect(rb"VIGIA init uptime=([0-9.]+)\s")
            began, up = time.monotonic(), float(m.match.group(1))
            profile = Profile(bench.hosts, host)
            if bench.cpu_per:
                m.expect(rb"BENCH-BEGINS")
                cpu = m.cpu()
            m.expect(rb"VIGIA end uptime=([0-9.]+)\s", timeout)
            outside, inside = time.monotonic() - began, float(m.match.group(1)) - up
            profile.show(workload)
            if abs(inside - outside) > max(0.05, 0.02 * outside):
                note(f"bench: {workload}: {host}: the guest's clock says {inside:.2f} s, the host's {outside:.2f} s")
            text = m.out.decode(errors="replace")
            if bench.cpu_per:
                bench.cpu_per(host, m.cpu() - cpu, text)
        taker.take(host, text)
        if "BENCH" not in text:
            raise RuntimeError("it printed no figure: " + text[-400:])
    for _ in range(bench.rounds):
        if native and bench.native:
            note(f"bench: {workload}: native")
            taker.take("native", subprocess.run(native + rows, check=True, text=True,
                                                stdout=subprocess.PIPE).stdout)
        bench.interleaved(workload, one, 1)


def compiled(bench, name):
    """The static binary of tests/bench/NAME.c."""
    out = os.path.join(bench.build, name)
    sources = [os.path.join(HERE, f) for f in (name + ".c", "measure.h", "compute_fp.h")]
    if not os.path.exists(out) or os.path.getmtime(out) < max(map(os.path.getmtime, sources)):
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-static", "-pthread", "-o", out, sources[0]], check=True)
    return out


def timed_rows(bench, name, label):
    binary = compiled(bench, name)
    budget = ["-t", "60" if bench.quick else "200"]
    initrd = tool("guest-initramfs", "--name", name, "--add", binary)
    run(bench, label, [name, *budget], initrd, "bench", [binary, *budget])


def compute(bench):
    timed_rows(bench, "compute", "compute")


def events(bench):
    timed_rows(bench, "events", "event")


def text_file(path):
    """4 MiB of words as frequent as in a language: the same each time."""
    rnd = random.Random(1)
    words = ["".join(rnd.choices("etaoinshrdlucmfwypvbgk", k=rnd.randint(2, 9))) for _ in range(4000)]
    weights = [1 / (i + 3) for i in range(len(words))]
    out = " ".join(rnd.choices(words, weights, k=900_000))
    with open(path, "w", encoding="ascii") as f:
        f.write(re.sub(r"(.{60,79}) ", r"\1\n", out)[:4 << 20])


def programs_guest(bench, more=()):
    """Initramfs and disk of a guest with programs.sh and more files; the directory that has them on the host."""
    disk = tool("guest-disk", *DISK)
    work = os.path.join(bench.build, "programs")
    os.makedirs(work, exist_ok=True)
    if not os.path.exists(os.path.join(work, "text")):
        text_file(os.path.join(work, "text"))
    files = ["programs.sh", "stones.py", "compute.c", "compute_fp.h", "measure.h"]
    for f in [os.path.join(HERE, f) for f in files] + list(more):
        shutil.copy2(f, work)
    files += ["text"] + [os.path.basename(f) for f in more]
    add = []
    for path in [os.path.join(work, f) for f in files] + packages(os.path.join(bench.build, "packages")):
        add += ["--add", f"{path}:/bench/{os.path.basename(path)}"]
    return tool("guest-initramfs", "--name", "programs", *add), disk, work


def packages(directory):
    """To be installed in guests; none, if the host's apt has none."""
    os.makedirs(directory, exist_ok=True)
    if not any(f.endswith(".deb") for f in os.listdir(directory)):
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *INSTALLED], cwd=directory, check=False, stdout=subprocess.DEVNULL)
    return sorted(os.path.join(directory, f) for f in os.listdir(directory) if f.endswith(".deb"))


def programs(bench):
    seconds = "1" if bench.quick else "3"
    initrd, disk, work = programs_guest(bench)
    run(bench, "program", ["/bin/sh", "/tmp/programs.sh", seconds], initrd, "root",
        ["sh", os.path.join(work, "programs.sh"), seconds], [disk])


def build(bench):
    initrd, disk, work = programs_guest(bench, [tool("guest-source", "busybox")])
    run(bench, "program", ["/bin/sh", "/tmp/programs.sh", "1"], initrd, "root",
        ["sh", os.path.join(work, "programs.sh"), "1"], [disk], rows=["build"])


def scale(bench):
    """Work of four threads: its time with four CPUs, in that with one. The host has the CPUs that it has."""
    seconds = "1" if bench.quick else "3"
    initrd, disk, work = programs_guest(bench)
    kernel = tool("guest-kernel")

    def figures(text):
        return {name: float(value) for name, value in re.findall(r"BENCH (\S+) \S+ ([0-9.]+) \S+ \S+", text)}

    def guest(host, cpus):
        with Machine(bench.hosts.command(host, kernel, initrd, "console=ttyS0 quiet vigia.run=root vigia.end=shell "
                                         f"vigia.bench=/bin/sh,/tmp/programs.sh,{seconds},parallel", [disk],
                                         cpus=cpus)) as m:
            m.expect(rb"VIGIA end ", 900)
            return figures(m.out.decode(errors="replace"))

    def native(cpus):
        one = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if cpus == 1 else []
        return figures(subprocess.run([*one, "sh", os.path.join(work, "programs.sh"), seconds, "parallel"], check=True,
                                      text=True, stdout=subprocess.PIPE).stdout)

    def add(host, measure):
        alone, together = measure(1), measure(4)
        if not alone or alone.keys() != together.keys():
            raise RuntimeError(f"not all was measured: {alone} {together}")
        for name, value in together.items():
            bench.add(f"scale {name}", "scale", "", host, value / alone[name])

    for _ in range(bench.rounds):
        note("bench: scale: native")
        add("native", native)
        bench.interleaved("scale", lambda host: add(host, lambda cpus: guest(host, cpus)), 1)


def io(bench):
    seconds = "1" if bench.quick else "3"
    disk = tool("guest-disk", *DISK)
    initrd = tool("guest-initramfs", "--name", "io", "--add", os.path.join(HERE, "io.sh") + ":/bench/io.sh")
    if bench.rows != ["tap"]:
        user_io(bench, disk, initrd, seconds)
    if not bench.rows or "tap" in bench.rows:
        tap_io(bench, disk, initrd, seconds)


def user_io(bench, disk, initrd, seconds):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    with iperf3([], "127.0.0.1", port), tempfile.NamedTemporaryFile(dir=bench.build) as scratch:
        for _ in range(256):  # no holes: reads are of data
            scratch.write(os.urandom(1 << 20))
        scratch.flush()
        run(bench, "io", ["/bin/sh", "/tmp/io.sh", seconds, "10.0.2.2", port], initrd, "net_root", None,
            [disk, scratch.name], rows=[r for r in bench.rows if r != "tap"])


@contextlib.contextmanager
def iperf3(prefix, address, port):
    server = subprocess.Popen([*prefix, "iperf3", "-s", "-B", address, "-p", port], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def tap_io(bench, disk, initrd, seconds):
    """In a network namespace of its own, which has nothing but the interface and iperf3's server."""
    space = f"vigia-bench-{os.getpid()}"
    within = ["ip", "netns", "exec", space]
    if os.geteuid() or subprocess.run(["ip", "netns", "add", space], check=False).returncode:
        note("bench: io: no tap: only root may make a network namespace")
        return
    try:
        for c in ("tuntap add tap0 mode tap", "addr add 10.9.8.1/24 dev tap0", "link set tap0 up", "link set lo up"):
            subprocess.run([*within, "ip", *c.split()], check=True)
        with iperf3(within, "0.0.0.0", "5201"):
            bench.hosts.prefix = within
            run(bench, "io", ["/bin/sh", "/tmp/io.sh", seconds, "10.9.8.1", "5201"], initrd, "lan,root", None, [disk],
                tap="tap0", append=" vigia.ip=10.9.8.2", rows=["tap"])
    finally:
        bench.hosts.prefix = []
        subprocess.run(["ip", "netns", "del", space], check=True)
