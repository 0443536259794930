# SPDX-License-Identifier: ISC
"""monitor.py: what history and policy cost: Vigia beside itself without them, interleaved, and once more without,
which says how much of a difference is noise. Figures are times: less is better."""
import copy
import os
import re
import statistics
import subprocess
import tempfile
import time

import boots
import inside
import paired
from machine import HERE, Machine, note, tool

# part: its rows, what they are compared in, the ratio at most
PARTS = {
    "boot": ("history", 1.02),
    "compute": ("history", 1.02),
    "events": ("history", 1.02),
    "fio": ("history", 1.05),
    "iperf3": ("history", 1.05),
    "rules": ("rules", 1.03),
}
NET_RULES = 1000
EVENTS = 10_000_000
LIMITS = {"record": (1e9 / 300_000, "ns"), "query": (100, "ms")}


def rules(path):
    """None of them is about the flows that are measured: each has to be looked at."""
    with open(path, "w", encoding="ascii") as f:
        for i in range(NET_RULES):
            f.write(f"deny net {('tcp', 'udp')[i % 2]} 172.{16 + i // 256}.{i % 256}.0/24 port {1 + i}\n")


class Part:
    """The same as Bench, but the hosts are Vigia in several ways, and figures are this part's own."""

    def __init__(self, bench, ways, rows=None):
        self.build, self.rounds, self.quick, self.failed = bench.build, bench.rounds, bench.quick, False
        self.rows = [r for r in bench.rows if r not in PARTS and r != "writer"] if rows is None else rows
        self.native, self.cpu_per = False, None
        self.hosts = copy.copy(bench.hosts)
        self.hosts.ways = ways
        self.hosts.names = list(ways)
        self.results, self.classes, self.units = {}, {}, {}
        self.interleaved = bench.__class__.interleaved.__get__(self)
        self.add = bench.__class__.add.__get__(self)


def boot(part):
    kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")

    def one(way):
        with Machine(part.hosts.command(way, kernel, initrd, "console=ttyS0 vigia.end=shell")) as m:
            wall = m.expect(rb"VIGIA shell")
            part.add("boot", "boot", "s", way, wall)
            part.add("boot, CPU time", "boot", "s", way, m.cpu())
    part.interleaved("monitor boot", one, part.rounds * 2)


def io(*rows):
    """Each row in a guest of its own: what a request costs of CPU time depends less on who else wants the CPU than how
    long it takes."""
    def run(part):
        def cpu_per(way, seconds, text):
            m = re.search(r"BENCH (\S+) io ([0-9.]+) us", text)
            if m:
                requests = (1 if part.quick else 3) * 1e6 / float(m.group(2))
                part.add(f"{m.group(1)}, CPU time", "io", "us", way, 1e6 * seconds / requests)
        part.cpu_per = cpu_per
        for row in rows:
            part.rows = [row]
            inside.io(part)
    return run


def ratio(values, way):
    """Of medians, and of minima."""
    return (statistics.median(values[way]) / statistics.median(values["none"]),
            min(values[way]) / min(values["none"]))


def on_one_cpu():
    """With two, who records would spend the other one waiting for who writes."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def writer(bench, part):
    """How long a record takes to be written, of one core, and how long a question to ten million of them."""
    subprocess.run(["ninja", "-C", bench.build, "tests/bench/bench_history"], check=True, stdout=subprocess.DEVNULL)
    for _ in range(1 if bench.quick else 2):
        with tempfile.TemporaryDirectory(dir=bench.build) as d:
            note("bench: monitor: records and questions")
            out = subprocess.run([os.path.join(bench.build, "tests/bench/bench_history"), os.path.join(d, "h"),
                                  str(EVENTS // 10 if bench.quick else EVENTS)],
                                 check=True, text=True, stdout=subprocess.PIPE, preexec_fn=on_one_cpu).stdout
        m = re.search(r"([0-9.]+) us of CPU each, (\d+) lost", out)
        part.add("record", "", "ns", "vigia", 1000 * float(m.group(1)))
        if int(m.group(2)):
            bench.failed = True
            note(f"bench: monitor: {m.group(2)} records lost")
        part.add("query", "", "ms", "vigia", max(float(q) for q in re.findall(r"([0-9.]+) ms \(", out)))


def monitor(bench):
    parts = [r for r in bench.rows if r in PARTS or r in ("writer", "paired")]
    with tempfile.TemporaryDirectory(dir=bench.build) as d:
        file = os.path.join(d, "rules")
        rules(file)
        none = ["--history", "none"]
        ways = {"none": none, "history": ["--history", os.path.join(d, "h")], "again": none}
        ruled = {"none": none, "rules": none + ["--policy", file], "again": none}
        for name, ways_of, run, rows in (
                ("boot", ways, boot, []), ("compute", ways, inside.compute, None), ("events", ways, inside.events, None),
                ("fio", ways, io("read4k", "write4k"), []), ("iperf3", ways, io("send", "receive"), []),
                ("rules", ruled, io("send", "receive"), [])):
            if parts and name not in parts:
                continue
            part = bench.monitor[name] = Part(bench, ways_of, rows)
            run(part)
            bench.failed |= part.failed
        if not parts or "paired" in parts:
            bench.paired = paired.paired(bench, rules, [r for r in bench.rows if r not in parts])
        if not parts or "writer" in parts:
            part = bench.monitor["writer"] = Part(bench, {})
            writer(bench, part)


def summary(bench):
    """Rows (part, rows, ratio, of minima, noise, the row that differs most by noise, goal, verdict); CPU time apart."""
    out = []
    for name, part in bench.monitor.items():
        for cpu in (False, True):
            way, most = PARTS.get(name, (None, 0))
            rows = [v for row, v in part.results.items() if row.endswith(", CPU time") == cpu
                    and all(h in v for h in ("none", way, "again"))]
            if not rows:
                continue
            medians, minima = (statistics.geometric_mean(r) for r in zip(*(ratio(v, way) for v in rows)))
            same = [ratio(v, "again")[0] for v in rows]
            noise = max(abs(r - 1) for r in same)
            verdict = "met" if medians <= most else "NOT met" if minima > most else "NOT met by medians, met by minima"
            if noise > most - 1:
                verdict = "not settled: noise"
            out.append((name + (", CPU time" if cpu else ""), len(rows), medians, minima, statistics.geometric_mean(same),
                        noise, most, verdict))
    return out


def lines(bench):
    if bench.paired:
        yield from paired.lines(bench.paired)
    if not bench.monitor:
        return
    yield "| what, geometric means | rows | with/without | of minima | without/without | the row that differs most by noise | at most | |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, n, medians, minima, same, noise, most, verdict in summary(bench):
        yield f"| {name} | {n} | {medians:.3f} | {minima:.3f} | {same:.3f} | {100 * noise:.1f} % | {most} | {verdict} |"
    if "writer" in bench.monitor:
        for row, values in bench.monitor["writer"].results.items():
            v, (most, unit) = statistics.median(values["vigia"]), LIMITS[row]
            yield f"| {row} | | {v:.1f} {unit} | {min(values['vigia']):.1f} {unit} | | | {most:.0f} {unit} | {'met' if v <= most else 'NOT met'} |"
    yield ""
    yield "| row | unit | without | with | again without | with/without |"
    yield "|---|---|---|---|---|---|"
    for name, part in bench.monitor.items():
        for row, v in part.results.items():
            way = PARTS.get(name, (None,))[0]
            if way in v and "none" in v and "again" in v:
                m = {w: statistics.median(v[w]) for w in v}
                yield (f"| {row}{', rules' if name == 'rules' else ''} | {part.units[row]} | {m['none']:.3f} | {m[way]:.3f} | "
                       f"{m['again']:.3f} | {m[way] / m['none']:.3f} |")
