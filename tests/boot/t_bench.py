#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The benchmark's harness: a workload in a guest and on the host gives figures, with a profile; what its classes
say of goals; a wrong result and a failure are told."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import vigia_test as vt  # noqa: E402
import inside  # noqa: E402
import report  # noqa: E402


class Results:
    """As bench.py's Bench, without hosts."""

    def __init__(self):
        self.results, self.classes, self.units, self.failed = {}, {}, {}, False

    def add(self, row, cls, unit, host, value):
        self.classes[row], self.units[row] = cls, unit
        self.results.setdefault(row, {}).setdefault(host, []).append(value)


def verdict(cls, *rows):
    """rows: times of vigia, tcg, native"""
    r = Results()
    for i, times in enumerate(rows):
        for host, t in zip(("vigia", "tcg", "native"), times):
            r.add(f"row{i}", cls, "s", host, t)
    return report.by_class(r)[0][-1]


vt.check(verdict("event", (1, 2), (1, 3)) == "met", "a goal that is met")
vt.check(verdict("event", (1, 9), (1, 0.9)) == "NOT met: row1", "no row may be slower, whatever the mean")
vt.check(verdict("program", (1, 8, 0.6), (1, 8, 0.2)).startswith("NOT met: native"), "the mean beside the host")
vt.check(verdict("program", (1, 8)) == "not compared", "nothing to compare with")

r = Results()
taker = inside.Taker(r, "compute")
taker.take("native", "BENCH a integer 2.5 ns 0000000000000001\nBENCH b integer 1 ns -\n")
vt.check(not r.failed and r.results["compute a"] == {"native": [2.5]}, "lines are taken")
taker.take("vigia", "BENCH a integer 2.0 ns 0000000000000002\n")
vt.check(r.failed and "vigia" not in r.results["compute a"], "a wrong result counts for nothing, and is told")
r = Results()
inside.Taker(r, "compute").take("vigia", "BENCH-FAILED gzip: no\n")
vt.check(r.failed, "so is a failure")

with vt.Workdir() as d:
    out = os.path.join(d.path, "bench.json")
    build = os.path.dirname(os.path.dirname(os.path.abspath(vt.VIGIA)))
    bench = os.path.join(os.path.dirname(inside.__file__), "bench.py")
    p = subprocess.run([sys.executable, bench, "--quick", "--no-qemu", "--profile", "--only", "events", "--rows",
                        "getpid,protect", "--build", build, "--json", out], text=True, capture_output=True, timeout=300,
                       check=False)
    vt.check(p.returncode == 0, f"a run of two rows {p.stderr[-500:] if p.returncode else ''}")
    with open(out, encoding="utf-8") as f:
        m = json.load(f)["medians"]
    vt.check(sorted(m) == ["event getpid", "event protect"] and all(set(x) == {"vigia", "native"} for x in m.values())
             and all(10 < ns < 1e7 for x in m.values() for ns in x.values()), f"figures: {m}")
    vt.check("profile: event:" in p.stderr and "%  translated code, kernel" in p.stderr, "and a profile")
