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
PIECES = 4  # of a block, the first of which does not count: it saw the switch
EVENTS = ("getpid read1 page-fault fork-wait fork-exec pipe switch-threads switch-processes switch-touch64 mmap-munmap "
          "protect signal").split()
COMPUTE = ("alu", "quicksort", "sum", "fib")
MIB = 32  # of a piece


class Subject:
    """A VM, the pieces of work that it does, and the CPU time that each took."""

    def __init__(self, hosts, machine):
        self.hosts, self.m, self.name = hosts, machine, hosts.last_name

    def cpu(self):
        """ns, of all threads: the process's CPU-time clock (clock_getcpuclockid(3))."""
        return time.clock_gettime_ns(~self.m.p.pid << 3 | 2)

    def piece(self):
        self.m.expect(rb"PIECE\s*\n", 60)

    def late(self):
        """The next piece has ended already: who measures did not get the CPU in time."""
        return b"PIECE" in self.m.out[self.m.pos:] or bool(select.select([self.m.p.stdout], [], [], 0)[0])

    def vigia(self, *args):
        subprocess.run([self.hosts.vigia, *args], check=True, stdout=subprocess.DEVNULL)

    def block(self):
        """The median of some pieces."""
        took, before, tries = [], None, 0
        while len(took) < PIECES - 1:
            self.piece()
            now = self.cpu()
            tries += 1
            if self.late() and tries < 20 * PIECES:
                before = None
                continue
            if before is not None:
                took.append(now - before)
            before = now
        return statistics.median(took)


class Stream(Subject):
    """Pieces are so many MiB that have come from the guest, or gone to it."""

    def __init__(self, hosts, machine, connection, sends):
        super().__init__(hosts, machine)
        self.connection, self.sends, self.buf = connection, sends, bytearray(1 << 20)

    def late(self):
        return False

    def piece(self):
        left = MIB << 20
        while left > 0:
            n = self.connection.recv_into(self.buf) if self.sends else self.connection.send(self.buf)
            if not n:
                raise RuntimeError("the stream has ended")
            left -= n


def switch_history(subject, on):
    subject.vigia("history", subject.name, "--record", ",".join(f"{c}={'always' if on else 'off'}" for c in CLASSES))


def switch_rules(none, rules):
    return lambda subject, on: subject.vigia("policy", "set", subject.name, rules if on else none)


def compare(subject, switch, rounds):
    """Ratios on/off of neighbouring blocks, and of two blocks that are both off: the noise."""
    ratios, same, last = [], [], None
    subject.piece()
    for i in range(rounds):
        took = {}
        for on in ((False, True), (True, False))[i % 2]:
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


def counted(bench, program, row, history, switch, rounds):
    initrd = tool("guest-initramfs", "--name", program, "--add", inside.compiled(bench, program))
    append = f"console=ttyS0 quiet vigia.run=bench vigia.bench={program},-p,{PIECE_MS},{row}"
    bench.hosts.ways["paired"] = ["--history", history]
    with Machine(bench.hosts.command("paired", tool("guest-kernel"), initrd, append)) as m:
        return compare(Subject(bench.hosts, m), switch, rounds)


def streamed(bench, way, history, switch, rounds):
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
                return compare(Stream(bench.hosts, m, connection, way == "send"), switch, rounds)


def paired(bench, rules_to, wanted):
    """Gives rows (part, row, ratio, off by, noise)."""
    rounds = 8 if bench.quick else 30
    out = []
    with tempfile.TemporaryDirectory(dir=bench.build) as d:
        none, rules, history = (os.path.join(d, n) for n in ("none", "rules", "h"))
        shutil.copy(os.devnull, none)
        rules_to(rules)
        rows = [("kernel events", r, lambda h, r=r: counted(bench, "events", r, h, switch_history, rounds)) for r in EVENTS]
        rows += [("compute", r, lambda h, r=r: counted(bench, "compute", r, h, switch_history, rounds)) for r in COMPUTE]
        rows += [("network", w, lambda h, w=w: streamed(bench, w, h, switch_history, rounds)) for w in ("send", "receive")]
        rows += [("1,000 rules", w, lambda h, w=w: streamed(bench, w, h, switch_rules(none, rules), rounds))
                 for w in ("send", "receive")]
        for part, row, run in rows:
            if wanted and row not in wanted:
                continue
            note(f"bench: monitor paired: {part}: {row}")
            try:
                ratios, same = run(os.path.join(d, f"h{len(out)}"))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
                note(f"bench: monitor paired: {part}: {row}: {e}")
                bench.failed = True
                continue
            out.append((part, row, *spread(ratios), spread(same)[0]))
            note("bench: monitor paired: %s: %s: %.4f, off by %.4f; off beside off %.4f" % out[-1])
    return out


LIMITS = {"kernel events": 1.02, "compute": 1.02, "network": 1.05, "1,000 rules": 1.03}


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
