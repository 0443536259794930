#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""bench.py: Vigia beside QEMU's TCG and the host itself: same kernel, initramfs, disk, memory and
number of CPUs, runs interleaved, medians.

  ./bench [--only NAME,…] [--rounds N] [--quick] [--build DIR] [--json FILE] [--no-qemu] [--engine E] [--record]

Workloads:
  init      process start to /init of a busybox initramfs, seconds
  debian    process start to Debian's login prompt, seconds
  compute   kernels of computation (tests/bench/compute.c), ns an iteration
  memory    memory beyond guest RAM after the boot, 512 MiB and 1 CPU, MiB
  size      the program, stripped, MiB
  start     process start to the guest's first instruction, ms

--record writes the figures into doc/benchmarks.md, with the machine and the command.
"""
import argparse
import json
import os
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.environ.get("VIGIA_GUEST_DIR", os.path.join(ROOT, "guest"))
MEMORY = 512
GOALS = {  # by the issue that this machine stands on: (what, limit)
    "init": "vigia/TCG at most 1.0", "debian": "vigia/TCG at most 1.0",
    "memory": "at most 48 MiB", "size": "at most 1.5 MiB", "start": "at most 30 ms",
}
UNITS = {"init": "s", "debian": "s", "memory": "MiB", "size": "MiB", "start": "ms"}
CLASS_GOALS = {"register": ("native", 1.3), "fp": ("native", 1.3), "rep": ("native", 1.3),
               "memory": ("tcg", 1.2), "call": ("tcg", 3.0)}


def note(text):
    print(text, file=sys.stderr, flush=True)


def tool(name, *args):
    return subprocess.run([os.path.join(ROOT, "tools", name), *args], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip().splitlines()[-1]


class Machine:
    """A running guest with its console on a pipe."""

    def __init__(self, command):
        self.start = time.monotonic()
        self.errors = tempfile.TemporaryFile()
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.out = b""
        self.pos = 0

    def expect(self, pattern, timeout=300):
        """Seconds from the start until the pattern has come."""
        pattern = re.compile(pattern)
        deadline = time.monotonic() + timeout
        while True:
            m = pattern.search(self.out, self.pos)
            if m:
                self.pos = m.end()
                self.match = m
                return time.monotonic() - self.start
            ready, _, _ = select.select([self.p.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.p.stdout.fileno(), 65536) if ready else b""
            if not data:
                self.errors.seek(0)
                self.close()
                raise RuntimeError(f"{pattern.pattern!r} did not come: "
                                   + self.out[-600:].decode(errors="replace")
                                   + self.errors.read()[-600:].decode(errors="replace"))
            self.out += data

    def close(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGKILL)
        self.p.wait()
        self.p.stdout.close()
        self.p.stdin.close()

    def resident(self):
        """MiB in memory without the guest's RAM. Pages of a memfd that is mapped twice count once."""
        total = 0
        with open(f"/proc/{self.p.pid}/smaps", encoding="ascii", errors="replace") as f:
            size = 0
            shared = False
            for line in f:
                m = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)", line)
                if m:
                    shared = "memfd:" in m.group(2)
                    continue
                key, _, value = line.partition(":")
                if key == "Size":
                    size = int(value.split()[0])
                elif key == ("Pss" if shared else "Rss") and size < MEMORY * 1024 * 0.9:
                    total += int(value.split()[0])
        return total / 1024


class Bench:
    def __init__(self, args):
        self.args = args
        self.vigia = os.path.join(args.build, "cmd/vigia")
        self.results = {}
        self.qemu = None if args.no_qemu else shutil.which("qemu-system-x86_64")
        self.hosts = ["vigia"] + (["tcg"] if self.qemu else [])

    def command(self, host, kernel, initrd=None, append="", disk=None):
        if host == "tcg":
            c = [self.qemu, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY), "-smp", "1", "-nographic",
                 "-no-reboot", "-monitor", "none", "-serial", "stdio", "-kernel", kernel, "-append", append]
            c += ["-initrd", initrd] if initrd else []
            c += ["-drive", f"file={disk},if=virtio,format=qcow2,snapshot=on"] if disk else []
            return c + ["-nic", "user,model=virtio-net-pci"]
        c = [self.vigia, "run", "--engine", self.args.engine, "--memory", f"{MEMORY}M", "--cpus", "1",
             "--kernel", kernel, "--append", append, "--net", "user", "--name", f"bench-{os.getpid()}"]
        c += ["--initrd", initrd] if initrd else []
        return c + (["--disk", f"{disk},snapshot"] if disk else [])

    def add(self, workload, host, value):
        self.results.setdefault(workload, {}).setdefault(host, []).append(value)

    def interleaved(self, name, fn, rounds):
        for i in range(rounds):
            # Who goes first changes, so that slow drifts hit all alike.
            for host in self.hosts if i % 2 == 0 else self.hosts[::-1]:
                note(f"bench: {name}: {host}, run {i + 1} of {rounds}")
                try:
                    fn(host)
                except RuntimeError as e:
                    note(f"bench: {name}: {host}: {e}")

    def boot(self, host, pattern, *args, **kwargs):
        m = Machine(self.command(host, *args, **kwargs))
        try:
            return m, m.expect(pattern)
        except BaseException:
            m.close()
            raise

    # ---- workloads

    def run_init(self):
        kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")

        def one(host):
            m, seconds = self.boot(host, rb"VIGIA init", kernel, initrd, "console=ttyS0")
            m.close()
            self.add("init", host, seconds)
        self.interleaved("init", one, self.args.rounds)

    def run_debian(self):
        disk = tool("guest-disk")
        base = disk.removesuffix(".qcow2")

        def one(host):
            m, seconds = self.boot(host, rb"login: ", base + ".vmlinuz", base + ".initrd",
                                   "root=/dev/vda rw console=ttyS0", disk)
            m.close()
            self.add("debian", host, seconds)
        self.interleaved("debian", one, self.args.rounds)

    def compute_binary(self):
        out = os.path.join(self.args.build, "compute")
        src = os.path.join(ROOT, "tests/bench/compute.c")
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
            subprocess.run(["cc", "-O2", "-static", "-o", out, src], check=True)
        return out

    def take_compute(self, host, text, sums):
        for name, cls, ns, checksum in re.findall(r"COMPUTE (\S+) (\S+) ([0-9.]+) ([0-9a-f]{16})", text):
            self.add(f"compute {name}", host, float(ns))
            self.classes[name] = cls
            if sums.setdefault(name, checksum) != checksum:
                raise RuntimeError(f"compute {name}: wrong result {checksum}, expected {sums[name]}")

    def run_compute(self):
        binary = self.compute_binary()
        kernel = tool("guest-kernel")
        initrd = tool("guest-initramfs", "--name", "compute", "--add", binary)
        budget = 60 if self.args.quick else 200
        sums, self.classes = {}, {}

        def native():
            note("bench: compute: native")
            self.take_compute("native", subprocess.run([binary, "-t", str(budget)], check=True, text=True,
                                                       stdout=subprocess.PIPE).stdout, sums)

        def one(host):
            m = Machine(self.command(host, kernel, initrd, "console=ttyS0 quiet vigia.run=compute "
                                                           f"vigia.compute=-t,{budget}"))
            try:
                m.expect(rb"VIGIA init uptime=([0-9.]+)")
                began, up = time.monotonic(), float(m.match.group(1))
                m.expect(rb"VIGIA end uptime=([0-9.]+)", 600)
                outside, inside = time.monotonic() - began, float(m.match.group(1)) - up
                if abs(inside / outside - 1) > 0.02:
                    note(f"bench: compute: {host}: the guest's clock says {inside:.2f} s, the host's {outside:.2f} s")
                self.take_compute(host, m.out.decode(errors="replace"), sums)
            finally:
                m.close()
        for _ in range(self.args.rounds):
            native()
            self.interleaved("compute", one, 1)

    def run_memory(self):
        kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")

        def one(host):
            m, _ = self.boot(host, rb"VIGIA shell", kernel, initrd,
                             "console=ttyS0 vigia.run=modules,fork vigia.end=shell")
            time.sleep(1)
            self.add("memory", host, m.resident())
            m.close()
        self.interleaved("memory", one, 1 if self.args.quick else min(3, self.args.rounds))

    def run_size(self):
        for host, path in (("vigia", self.vigia), ("tcg", self.qemu)):
            if path:
                with tempfile.NamedTemporaryFile() as f:
                    subprocess.run(["strip", "-o", f.name, os.path.realpath(path)], check=True)
                    self.add("size", host, os.path.getsize(f.name) / 2**20)

    def run_start(self):
        with tempfile.NamedTemporaryFile(suffix=".elf") as f:
            f.write(first_instruction_elf())
            f.flush()

            def one(host):
                m, seconds = self.boot(host, rb"!", f.name)
                m.close()
                self.add("start", host, seconds * 1000)
            self.interleaved("start", one, 5 * self.args.rounds)

    # ---- report

    def report(self):
        medians = {w: {h: statistics.median(v) for h, v in by.items()} for w, by in self.results.items()}
        print(f"\n{'workload':22} {'unit':>4} {'vigia':>10} {'TCG':>10} {'native':>10} "
              f"{'vigia/TCG':>10} {'TCG/vigia':>10} {'vigia/native':>13}  goal")
        for w, m in medians.items():
            v, t, n = m.get("vigia"), m.get("tcg"), m.get("native")

            def cell(x, width=10):
                return f"{x:{width}.3f}" if x is not None else " " * (width - 1) + "-"

            def ratio(a, b, width=10):
                return f"{a / b:{width}.2f}" if a is not None and b else " " * (width - 1) + "-"
            print(f"{w:22} {UNITS.get(w, 'ns'):>4} {cell(v)} {cell(t)} {cell(n)} {ratio(v, t)} {ratio(t, v)} "
                  f"{ratio(v, n, 13)}  {self.goal(w, v, t, n)}")
        if self.args.json:
            with open(self.args.json, "w", encoding="utf-8") as f:
                json.dump({"medians": medians, "samples": self.results, "rounds": self.args.rounds,
                           "memory_mib": MEMORY, "cpu": cpu_name(), "qemu": self.qemu_version()}, f, indent=2)
                f.write("\n")
            note(f"bench: samples are in {self.args.json}")

    def record(self):
        """Replaces the section of figures in doc/benchmarks.md."""
        path = os.path.join(ROOT, "doc/benchmarks.md")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], text=True,
                                stdout=subprocess.PIPE, check=False).stdout.strip()
        lines = ["## Figures", "", f"Commit {commit}, {time.strftime('%Y-%m-%d')}, {cpu_name()}, {os.cpu_count()} CPUs, load "
                 f"{os.getloadavg()[1]:.1f} when it ended; {self.qemu_version()}; medians of {self.args.rounds} rounds by", "",
                 "```", "./bench " + " ".join(sys.argv[1:]), "```", "",
                 "| workload | unit | vigia | TCG | native | TCG/vigia | vigia/native |", "|---|---|---|---|---|---|---|"]
        for w, by in self.results.items():
            m = {h: statistics.median(v) for h, v in by.items()}
            v, t, n = m.get("vigia"), m.get("tcg"), m.get("native")
            lines.append(f"| {w} | {UNITS.get(w, 'ns')} | " + " | ".join(
                f"{x:.3f}" if x is not None else "" for x in (v, t, n)) + " | "
                + (f"{t / v:.2f}" if v and t else "") + " | " + (f"{v / n:.2f}" if v and n else "") + " |")
        with open(path, "w", encoding="utf-8") as f:
            before, _, after = text.partition("## Figures")
            _, sep, after = after.partition("\n## ")  # sections behind stay
            f.write(before + "\n".join(lines) + "\n" + sep + after)
        note(f"bench: figures are in {path}")

    def goal(self, w, v, t, n):
        if w in GOALS:
            return GOALS[w]
        against, limit = CLASS_GOALS.get(self.classes.get(w.split()[-1]), (None, 0))
        if against == "native":
            met = "" if v is None or not n else " met" if v / n <= limit else " NOT met"
            return f"vigia/native at most {limit}{met}"
        if against == "tcg":
            met = "" if v is None or not t else " met" if t / v >= limit else " NOT met"
            return f"TCG/vigia at least {limit}{met}"
        return ""

    def qemu_version(self):
        if not self.qemu:
            return None
        return subprocess.run([self.qemu, "--version"], text=True, stdout=subprocess.PIPE,
                              check=False).stdout.splitlines()[0]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        m = re.search(r"model name\s*: (.*)", f.read())
    return m.group(1) if m else "unknown"


def first_instruction_elf():
    """A PVH guest whose first instructions write '!' to the serial port, and which then halts."""
    code = bytes([0xb0, 0x21, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xfa, 0xf4, 0xeb, 0xfd])
    base, note_at, code_at = 0x100000, 0x80, 0xa0
    pvh = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", base + code_at)
    image = code_at + len(code)
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01" + bytes(9), 2, 3, 1, base + code_at, 52, 0, 0,
                         52, 32, 2, 0, 0, 0)
    load = struct.pack("<IIIIIIII", 1, 0, base, base, image, image, 7, 0x1000)
    notes = struct.pack("<IIIIIIII", 4, note_at, base + note_at, base + note_at, len(pvh), len(pvh), 4, 4)
    out = bytearray(image)
    out[0:52] = header
    out[52:84], out[84:116] = load, notes
    out[note_at:note_at + len(pvh)] = pvh
    out[code_at:] = code
    return bytes(out)


def main():
    names = ["size", "start", "init", "memory", "compute", "debian"]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(names))
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--quick", action="store_true", help="one round, short measurements")
    p.add_argument("--build", default=os.path.join(ROOT, "build-release"))
    p.add_argument("--json", default="")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--engine", default="soft")
    p.add_argument("--record", action="store_true")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.json = args.json or os.path.join(args.build, "bench.json")
    bench = Bench(args)
    bench.classes = {}
    for name in args.only.split(","):
        if name not in names:
            sys.exit(f"bench: no workload {name}: there are {', '.join(names)}")
    for name in names:
        if name in args.only.split(","):
            getattr(bench, "run_" + name)()
    bench.report()
    if args.record:
        bench.record()


main()
