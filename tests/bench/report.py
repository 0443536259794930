# SPDX-License-Identifier: ISC
"""report.py: what was measured, as a table of ratios, by class against the goals, as JSON and in
doc/benchmarks.md. All figures are times (or bytes): less is better."""
import copy
import json
import os
import re
import statistics
import subprocess
import sys
import time

import chart
import monitor
from machine import MEMORY, ROOT, note

# By class: what, vigia/native at most, TCG/vigia at least (geometric means), TCG/vigia of each row at least
CLASSES = {
    "integer": ("compute, integer and memory", 1.5, 2.2, None),
    "call": ("calls, returns, indirect, adc", 2, 5, None),
    "fp": ("FP, SSE, AVX, x87", 1.15, 15, None),
    "string": ("string instructions", 1.1, 50, None),
    "translate": ("translation of cold code", None, 5, None),
    "event": ("kernel events", None, 2, 1),
    "program": ("programs", 2, 4, None),
    "system": ("systems", None, 2.5, 2.5),
    "io": ("I/O", None, 1.5, 1),
    "scale": ("four threads with four CPUs", 1, None, None),
}
# Rows of no class: Vigia's own figure at most
LIMITS = {"memory": 24, "size": 1.5, "start": 30}


def cell(x, width=10, digits=3):
    return f"{x:{width}.{digits}f}" if x is not None else " " * (width - 1) + "-"


def ratio(a, b):
    return a / b if a is not None and b else None


def medians(bench):
    return {w: {h: statistics.median(v) for h, v in by.items()} for w, by in bench.results.items()}


def by_class(bench):
    """Rows (class, rows, vigia/native, TCG/vigia, slowest row beside TCG, its TCG/vigia, verdict)."""
    out = []
    for cls, (_, most, least, each) in CLASSES.items():
        rows = {w: m for w, m in medians(bench).items() if bench.classes[w] == cls}
        native = [r for m in rows.values() if (r := ratio(m.get("vigia"), m.get("native"))) is not None]
        tcg = {w: r for w, m in rows.items() if (r := ratio(m.get("tcg"), m.get("vigia"))) is not None}
        n = statistics.geometric_mean(native) if native else None
        t = statistics.geometric_mean(tcg.values()) if tcg else None
        slowest = min(tcg, key=tcg.get) if tcg else None
        misses = []
        if most and n and n > most:
            misses.append(f"native {n / most:.2f} times the goal")
        if t and least and t < least:
            misses.append(f"TCG {t / least:.2f} of the goal")
        misses += [w for w, r in tcg.items() if each and r < each]
        compared = (t or not least) and (n or not most)
        verdict = "NOT met: " + ", ".join(misses) if misses else "met" if compared else "not compared"
        if rows:
            out.append((cls, len(rows), n, t, slowest, tcg.get(slowest), verdict))
    return out


def goal_text(cls):
    _, most, least, each = CLASSES[cls]
    return "; ".join(([f"native at most {most}"] if most else []) + ([f"TCG at least {least}"] if least else [])
                     + ([f"each at least {each}"] if each else []))


def limits(bench):
    return [f"{w}: at most {LIMITS[w]} {bench.units[w]}: {'met' if m['vigia'] <= LIMITS[w] else 'NOT met'}"
            for w, m in medians(bench).items() if w in LIMITS and "vigia" in m]


def show(bench):
    print(f"\n{'workload':25} {'unit':>4} {'vigia':>13} {'TCG':>13} {'native':>13} {'TCG/vigia':>10} {'vigia/native':>13}")
    for w, m in medians(bench).items():
        v, t, n = m.get("vigia"), m.get("tcg"), m.get("native")
        print(f"{w:25} {bench.units[w]:>4} {cell(v, 13)} {cell(t, 13)} {cell(n, 13)} {cell(ratio(t, v), 10, 2)} "
              f"{cell(ratio(v, n), 13, 2)}")
    print(f"\n{'class (geometric means)':30} {'rows':>4} {'vigia/native':>13} {'TCG/vigia':>10}  {'slowest beside TCG':32} goal")
    for cls, rows, n, t, slowest, least, verdict in by_class(bench):
        where = f"{slowest} {least:.2f}" if slowest else "-"
        print(f"{CLASSES[cls][0]:30} {rows:4} {cell(n, 13, 2)} {cell(t, 10, 2)}  {where:32} {goal_text(cls)}: {verdict}")
    for line in limits(bench):
        print(line)
    if bench.monitor or bench.paired:
        print("\nhistory and policy\n" + "\n".join(monitor.lines(bench)))


def save(bench, path):
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"medians": medians(bench), "samples": bench.results, "classes": bench.classes, "units": bench.units,
                   "by_class": {c: {"rows": r, "vigia/native": n, "tcg/vigia": t, "verdict": v}
                                for c, r, n, t, _, _, v in by_class(bench)},
                   "monitor": {name: part.results for name, part in bench.monitor.items()}, "paired": bench.paired,
                   "rounds": bench.rounds, "memory_mib": MEMORY, "cpu": cpu_name(),
                   "qemu": bench.hosts.qemu_version()}, f, indent=2)
        f.write("\n")
    note(f"bench: samples are in {path}")


def draw(bench, path):
    groups = []
    for cls, _, _, t, *_ in by_class(bench):
        ratios = [(w, ratio(m.get("tcg"), m.get("vigia")), ratio(m.get("tcg"), m.get("native")))
                  for w, m in medians(bench).items() if bench.classes[w] == cls]
        ratios = [r for r in ratios if r[1]]
        if ratios:
            groups.append((f"{CLASSES[cls][0]}: {t:.2f}", ratios))
    if groups:
        with open(path, "w", encoding="utf-8") as f:
            f.write(chart.svg(f"Vigia's software engine beside QEMU TCG, {cpu_name()}", groups))
        note(f"bench: a chart is in {path}")


# What takes minutes has a section and a chart of its own, so that each may be measured alone.
LONG = ("program", "io")
SECTIONS = (("Figures", "benchmarks.svg", lambda cls: cls not in LONG),
            ("Programs and I/O", "benchmarks-programs.svg", lambda cls: cls in LONG))


def record(bench):
    """Replaces the sections of what was measured in doc/benchmarks.md, and their charts."""
    for title, picture, inside in SECTIONS:
        part = copy.copy(bench)
        part.results = {w: r for w, r in bench.results.items() if inside(bench.classes[w])}
        if part.results:
            draw(part, os.path.join(ROOT, "doc", picture))
            replace(title, figures(part, picture))
    if bench.monitor or bench.paired:
        replace("History and policy", where(bench) + list(monitor.lines(bench)))


def replace(title, lines):
    path = os.path.join(ROOT, "doc/benchmarks.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        before, _, after = text.partition(f"## {title}\n")
        _, sep, after = after.partition("\n## ")  # sections behind stay
        f.write(before + f"## {title}\n\n" + "\n".join(lines) + "\n" + sep + after)
    note(f"bench: figures are in {path}")


def where(bench):
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], text=True,
                            stdout=subprocess.PIPE, check=False).stdout.strip()
    return [f"Commit {commit}, {time.strftime('%Y-%m-%d')}, {cpu_name()}, {os.cpu_count()} CPUs, load "
             f"{os.getloadavg()[1]:.1f} when it ended; {bench.hosts.qemu_version()}; medians of {bench.rounds} rounds by", "",
            "```", "./bench " + " ".join(sys.argv[1:]), "```", ""]


def figures(bench, picture):
    lines = where(bench) + [
             f"![as a chart]({picture})", "",
             "| class, geometric means | rows | vigia/native | TCG/vigia | slowest beside TCG | goal |", "|---|---|---|---|---|---|"]
    for cls, rows, n, t, slowest, least, verdict in by_class(bench):
        lines.append(f"| {CLASSES[cls][0]} | {rows} | {cell(n, 0, 2).strip()} | {cell(t, 0, 2).strip()} | "
                     + (f"{slowest} {least:.2f}" if slowest else "") + f" | {goal_text(cls)}: {verdict} |")
    if limits(bench):
        lines += ["", "; ".join(limits(bench)) + "."]
    lines += ["", "| workload | unit | vigia | TCG | native | TCG/vigia | vigia/native |", "|---|---|---|---|---|---|---|"]
    for w, m in medians(bench).items():
        v, t, n = m.get("vigia"), m.get("tcg"), m.get("native")
        lines.append(f"| {w} | {bench.units[w]} | " + " | ".join(f"{x:.3f}" if x is not None else "" for x in (v, t, n))
                     + " | " + (f"{t / v:.2f}" if v and t else "") + " | " + (f"{v / n:.2f}" if v and n else "") + " |")
    return lines


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        m = re.search(r"model name\s*: (.*)", f.read())
    return m.group(1) if m else "unknown"
