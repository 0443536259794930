# SPDX-License-Identifier: ISC
"""paired.py: what history and rules cost, in one and the same VM. The guest does the same piece of work over and over;
meanwhile history (or a set of rules) is switched off and on every few pieces, and what a piece takes of CPU time, of all
of Vigia's threads, is compared between neighbours. Two VMs differ by several per cent by where things lie in memory
alone, and wall time by who else wants the CPUs; neither comes in here. Many short rounds: medians of their ratios."""
import math
import os
import select
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import inside
from machine import HERE, Machine, note, tool

CLASSES = ("lifecycle cpu port mmio msr cpuid irq disk net console time entropy operator memory device").split()
PIECE_MS = 30
PIECES = 3  # of a block, and one before that saw the switch
EVENTS = ("getpid read1 page-fault fork-wait fork-exec pipe switch-threads switch-processes switch-touch64 mmap-munmap "
          "protect signal").split()
COMPUTE = ("alu", "quicksort", "sum", "fib")
MIB = {"send": 4, "receive": 8}  # of a piece
DISK_MIB = 128
ROUNDS, PRECISE, SECONDS = 20, 0.01, 60  # at least so many, until they are off by no more, or for so long


class Subject:
    """A VM, the pieces of work that it does, and the CPU time that each took."""

    def __init__(self, hosts, machine):
        self.hosts, self.m, self.name = hosts, machine, hosts.last_name
        self.ended = 0  # pieces

    def cpu(self):
        """ns, of all threads: the process's CPU-time clock (clock_getcpuclockid(3))."""
        return time.clock_gettime_ns(~self.m.p.pid << 3 | 2)

    def piece(self):
        self.m.expect(rb"PIECE\s*\n", 60)
        self.ended += 1

    def late(self):
        """The next piece has ended already: who measures did not get the CPU in time."""
        return b"PIECE" in self.m.out[self.m.pos:] or bool(select.select([self.m.p.stdout], [], [], 0)[0])

    def vigia(self, *args):
        subprocess.run([self.hosts.vigia, *args], check=True, stdout=subprocess.DEVNULL)

    def mark(self):
        """Pieces that have ended so far, and the CPU time then, as exactly as who measures gets the CPU."""
        for _ in range(2 * PIECES):
            self.piece()
            if not self.late():
                break
        while b"PIECE" in self.m.out[self.m.pos:]:
            self.piece()
        return self.ended, self.cpu()

    def block(self):
        """CPU time of a piece."""
        self.piece()
        first, begun = self.mark()
        last = first
        while last < first + PIECES:
            last, now = self.mark()
        return (now - begun) / (last - first)


class Stream(Subject):
    """Pieces are so many MiB that have come from the guest, or gone to it."""

    def __init__(self, hosts, machine, connection, way):
        super().__init__(hosts, machine)
        self.connection, self.sends, self.buf = connection, way == "send", bytearray(1 << 20)
        self.bytes = MIB[way] << 20

    def late(self):
        return False

    def piece(self):
        left = self.bytes
        while left > 0:
            n = self.connection.recv_into(self.buf) if self.sends else self.connection.send(self.buf)
            if not n:
                raise RuntimeError("the stream has ended")
            left -= n
        self.ended += 1


def switch_history(subject, on):
    subject.vigia("history", subject.name, "--record", ",".join(f"{c}={'always' if on else 'off'}" for c in CLASSES))


def switch_rules(none, rules):
    return lambda subject, on: subject.vigia("policy", "set", subject.name, rules if on else none)


def compare(subject, switch, seconds):
    """Ratios on/off of neighbouring blocks, and of two blocks that are both off: the noise. Until they are known well
    enough, or the time is over."""
    ratios, same, last = [], [], None
    subject.piece()
    end = time.monotonic() + seconds
    while len(ratios) < ROUNDS or (spread(ratios)[1] > PRECISE and time.monotonic() < end):
        if len(ratios) < ROUNDS and time.monotonic() > end + 4 * SECONDS:
            raise RuntimeError(f"no {ROUNDS} rounds in {5 * SECONDS} s: this machine is too busy")
        took = {}
        for on in ((False, True), (True, False))[len(ratios) % 2]:
            switch(subject, on)
            took[on] = subject.block()
        ratios.append(took[True] / took[False])
        if last:
            same.append(took[False] / last)
        last = took[False]
    return ratios, same


def spread(ratios):
    """The median, and how far off it may be (95 %)."""
    q = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), 1.57 * (q[2] - q[0]) / math.sqrt(len(ratios))


def counted(bench, program, row, history, switch, seconds, disks=()):
    initrd = tool("guest-initramfs", "--name", program, "--add", inside.compiled(bench, program))
    do = "modules,bench" if disks else "bench"
    append = f"console=ttyS0 quiet vigia.run={do} vigia.bench={program},-p,{PIECE_MS},{row}"
    bench.hosts.ways["paired"] = ["--history", history]
    with Machine(bench.hosts.command("paired", tool("guest-kernel"), initrd, append, disks)) as m:
        return compare(Subject(bench.hosts, m), switch, seconds)


def requested(bench, row, history, switch, seconds):
    """Of a disk that the host has in its page cache: what a request takes here, not there."""
    with tempfile.NamedTemporaryFile(dir=bench.build) as f:
        for _ in range(DISK_MIB):
            f.write(os.urandom(1 << 20))
        f.flush()
        return counted(bench, "disk", row, history, switch, seconds, [f.name])


def streamed(bench, way, history, switch, seconds):
    pump = os.path.join(bench.build, "pump")
    subprocess.run(["cc", "-O2", "-static", "-o", pump, os.path.join(HERE, "pump.c")], check=True)
    initrd = tool("guest-initramfs", "--name", "pump", "--add", pump)
    bench.hosts.ways["paired"] = ["--history", history]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        s.settimeout(120)
        append = f"console=ttyS0 quiet vigia.run=modules,net,bench vigia.bench=pump,{way},10.0.2.2,{s.getsockname()[1]}"
        with Machine(bench.hosts.command("paired", tool("guest-kernel"), initrd, append)) as m:
            connection, _ = s.accept()
            with connection:
                connection.settimeout(120)
                return compare(Stream(bench.hosts, m, connection, way), switch, seconds)


def rows_of(none, rules, seconds):
    """(part, row, what gives its ratios when told where the history is to be)."""
    def of(part, fn, row, switch, *args):
        return part, row, lambda bench, history: fn(bench, *args, history, switch, seconds)
    setting = switch_rules(none, rules)
    return ([of("kernel events", counted, r, switch_history, "events", r) for r in EVENTS] +
            [of("compute", counted, r, switch_history, "compute", r) for r in COMPUTE] +
            [of("disk", requested, r, switch_history, r) for r in ("read4k", "write4k")] +
            [of("network", streamed, r, switch_history, r) for r in ("send", "receive")] +
            [of("1,000 rules", streamed, "rules-" + r, setting, r) for r in ("send", "receive")])


def paired(bench, rules_to, wanted):
    """Gives rows (part, row, ratio, off by, noise)."""
    seconds = 10 if bench.quick else SECONDS
    out = []
    with tempfile.TemporaryDirectory(dir=bench.build) as d:
        none, rules = (os.path.join(d, n) for n in ("none", "rules"))
        shutil.copy(os.devnull, none)
        rules_to(rules)
        rows = [r for r in rows_of(none, rules, seconds) if not wanted or r[1] in wanted]
        note(f"bench: monitor paired: {len(rows)} rows of about {seconds} s at most, and the starts of their VMs")
        for part, row, run in rows:
            try:
                ratios, same = run(bench, os.path.join(d, "h-" + row))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
                note(f"bench: monitor paired: {part}: {row}: {e}")
                bench.failed = True
                continue
            out.append((part, row, *spread(ratios), spread(same)[0]))
            note(f"bench: monitor paired: %s: %s: %.4f, off by %.4f; off beside off %.4f; {len(ratios)} rounds" % out[-1])
    return out


LIMITS = {"kernel events": 1.02, "compute": 1.02, "disk": 1.05, "network": 1.05, "1,000 rules": 1.03}


def lines(rows):
    """Geometric means of each part, and what they may be off by."""
    yield "In one VM, on beside off (`paired.py`); CPU time of all of Vigia's threads, medians of neighbouring blocks:"
    yield ""
    yield "| what | rows | on/off | off by at most (95 %) | off/off | at most | |"
    yield "|---|---|---|---|---|---|---|"
    for part, most in LIMITS.items():
        of = [r for r in rows if r[0] == part]
        if not of:
            continue
        mean = statistics.geometric_mean(r[2] for r in of)
        error = math.sqrt(sum((r[3] / r[2])**2 for r in of)) / len(of)
        verdict = "met" if mean + error <= most else "NOT met" if mean - error > most else "not settled"
        yield (f"| {part} | {len(of)} | {mean:.4f} | {error:.4f} | {statistics.geometric_mean(r[4] for r in of):.4f} | {most} | "
               f"{verdict} |")
    yield ""
    yield "| row | on/off | off by | off/off |"
    yield "|---|---|---|---|"
    for part, row, ratio, error, same in rows:
        yield f"| {part}: {row} | {ratio:.4f} | {error:.4f} | {same:.4f} |"
    yield ""
