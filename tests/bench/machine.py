# SPDX-License-Identifier: ISC
"""machine.py: how the guests of the benchmark are started, and one that runs, with its console on a pipe."""
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests/bench")
MEMORY = 512


def note(text):
    print(text, file=sys.stderr, flush=True)


def tool(name, *args):
    return subprocess.run([os.path.join(ROOT, "tools", name), *args], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip().splitlines()[-1]


class Hosts:
    """What guests run on: "vigia", and "tcg" where QEMU is."""

    def __init__(self, build, engine, with_qemu, profile):
        self.vigia = os.path.join(build, "cmd/vigia")
        self.engine = engine
        self.profile = profile
        self.last_name = None  # of the VM of the last command
        self.qemu = shutil.which("qemu-system-x86_64") if with_qemu else None
        self.names = ["vigia"] + (["tcg"] if self.qemu else [])
        self.started = 0
        self.prefix = []  # of commands: where they run
        self.ways = {}  # hosts that are Vigia with these options besides

    def command(self, host, kernel, initrd=None, append="", disks=(), memory=MEMORY, cpus=1, tap=None):
        """disks: paths; of .qcow2 images nothing that is written stays. tap: interface in place of the user network."""
        self.started += 1
        if host == "tcg":
            c = [*self.prefix, self.qemu, "-accel", "tcg", "-cpu", "max", "-m", str(memory), "-smp", str(cpus), "-nographic",
                 "-no-reboot", "-monitor", "none", "-serial", "stdio", "-kernel", kernel, "-append", append]
            c += ["-initrd", initrd] if initrd else []
            for d in disks:
                how = "format=qcow2,snapshot=on" if d.endswith(".qcow2") else "format=raw"
                c += ["-drive", f"file={d},if=virtio,{how}"]
            nic = f"tap,ifname={tap},script=no,downscript=no" if tap else "user"
            return c + ["-nic", nic + ",model=virtio-net-pci"]
        self.last_name = f"bench-{os.getpid()}-{self.started}"
        c = [*self.prefix, self.vigia, "run", "--engine", self.engine, "--memory", f"{memory}M", "--cpus", str(cpus),
             "--kernel", kernel, "--append", append, "--net", f"tap:{tap}" if tap else "user",
             "--name", self.last_name]
        c += self.ways.get(host, [])
        c += ["--profile"] if self.profile else []
        c += ["--initrd", initrd] if initrd else []
        for d in disks:
            c += ["--disk", d + (",snapshot" if d.endswith(".qcow2") else ",format=raw")]
        return c

    def qemu_version(self):
        if not self.qemu:
            return None
        return subprocess.run([self.qemu, "--version"], text=True, stdout=subprocess.PIPE,
                              check=False).stdout.splitlines()[0]


class Machine:
    """A running guest with its console on a pipe."""

    def __init__(self, command):
        self.start = time.monotonic()
        self.errors = tempfile.TemporaryFile()
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.out = b""
        self.pos = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

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

    def cpu(self):
        """Seconds of CPU time so far."""
        with open(f"/proc/{self.p.pid}/stat", encoding="ascii") as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

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
