#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""report.py: runs test suites of a build with -Dcover=true, and says which rows of the instruction table
and which faults of the interpreter each has come to.

  tests/cover/report.py BUILD [--only SUITE,…] [--keep DIR] [--read] [--write doc/coverage.md]

--keep: counts are left in DIR, one file a suite; --read: and are taken from there, nothing runs. What no
suite comes to must be in tests/cover/untouched.txt with its reason, and nothing else may be: that is the
exit status."""
import argparse
import collections
import os
import re
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROWS, SITES, WHATS = 4096, 1024, ("decoded", "encoded", "executed", "translated", "refused")
SITE = struct.Struct("<IIHHI32s")
TRIPLE = 255
VECTORS = {0: "#DE", 1: "#DB", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP",
           14: "#PF", 16: "#MF", 17: "#AC", 19: "#XM", TRIPLE: "shutdown"}
NUMBER = {"DE": 0, "DB": 1, "BR": 5, "UD": 6, "NM": 7, "DF": 8, "TS": 10, "NP": 11, "SS": 12, "GP": 13, "PF": 14,
          "MF": 16, "AC": 17, "XM": 19}


def guest(name, *options):
    return [f"{ROOT}/tests/guest/guest.py", "--ways", "soft,interp", *options, "{b}/cmd/vigia", f"{ROOT}/tests/guest/{name}.asm"]


# name: what counts as a touch, commands
SUITES = {
    "lockstep": ("executed", [["{b}/tests/diff/lockstep", "1", "60000"]]),
    "access": ("encoded", [["{b}/tests/diff/access", "20000"]]),
    "zydis": ("decoded", [["{b}/tests/diff/zydis"]]),
    "soft_lockstep": ("translated", [["{b}/tests/diff/soft_lockstep", "1", "2000"],
                                     ["{b}/tests/diff/soft_lockstep_seg", "1", "1500"]]),
    "sys64": ("executed", [guest("sys64", "--cpu", "host-avx512")]),
    "la57": ("executed", [guest("la57", "--cpu", "host-la57")]),
    "sys32": ("executed", [guest("sys32")]),
    "real16": ("executed", [guest("real16", "--pc")]),
    "smm": ("executed", [guest("smm", "--pc")]),
    "smp64": ("executed", [guest("smp64", "--cpus", "4")]),
    "unit": ("executed", [["{b}/tests/unit/test_" + t] for t in ("interp", "faults", "faults_soft", "event", "walk", "smm", "xsave", "soft")]),
    "boot": ("executed", [[f"{ROOT}/tests/boot/t_shell.py"]]),
}
TABLES = ("zydis", "access")  # they look at the table only


def run(suite, build, path):
    env = {**os.environ, "VIGIA_COVER": path, "VIGIA": f"{build}/cmd/vigia", "PYTHONPATH": f"{ROOT}/tests/lib",
           "PYTHONDONTWRITEBYTECODE": "1"}
    for command in SUITES[suite][1]:
        r = subprocess.run([part.format(b=build) for part in command], env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if r.returncode:
            print(f"{suite}: {' '.join(command)}: exit status {r.returncode}\n{r.stdout[-2000:]}", file=sys.stderr)


def read(path):
    """({what: {row: times}}, {(file, line, vector, kind): times})"""
    with open(path, "rb") as f:
        data = f.read()
    counts = struct.unpack_from(f"<{len(WHATS) * ROWS}I", data)
    rows = {w: {i: n for i, n in enumerate(counts[k * ROWS:(k + 1) * ROWS]) if n} for k, w in enumerate(WHATS)}
    faults = {}
    for i in range(SITES):
        state, line, vector, kind, n, name = SITE.unpack_from(data, len(WHATS) * ROWS * 4 + i * SITE.size)
        if state == 2:
            faults[(name.split(b"\0")[0].decode(), line, vector, kind)] = n
    return rows, faults


def table(build):
    """{number: (mnemonic, place, whether the host has it)}"""
    out = subprocess.run([f"{build}/tests/rows"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {int(f[0]): f[1:] for f in (line.split("\t") for line in out.splitlines())}


def fault_sites():
    """Where the interpreter raises, by its text: {(file, line): (function, vectors named there or None)}"""
    sites = {}
    for name in sorted(os.listdir(f"{ROOT}/x86")):
        if not name.endswith(".c"):
            continue
        with open(f"{ROOT}/x86/{name}", encoding="utf-8") as f:
            lines = f.read().split("\n")
        function = "?"
        for i, line in enumerate(lines):
            head = re.match(r"(?:EXEC\((\w+)\)|[a-z][\w\s*]*?\b(\w+)\([^;]*$)", line)
            if head and not line.startswith("\t"):
                function = head.group(1) or head.group(2)
            if line.startswith("#define") or lines[i - 1].endswith("\\"):
                continue
            for call in re.finditer(r"\b(raise_(?:vec|err|gp0|ud)|violation|COVER_FAULT)\(", line):
                text = " ".join(l.strip() for l in lines[i:i + 3])[call.start() - len(line) + len(line.lstrip()):]
                args = text.split(";")[0]
                vectors = {NUMBER[v] for v in re.findall(r"VEC_(\w+)", args)}
                if call.group(1) == "raise_gp0":
                    vectors = {13}
                elif call.group(1) == "raise_ud":
                    vectors = {6}
                elif call.group(1) == "violation":
                    vectors = {12, 13}
                elif "COVER_TRIPLE" in args:
                    vectors = {TRIPLE}
                old = sites.get((name, i + 1), (function, set()))[1]
                sites[(name, i + 1)] = (function, (old or set()) | vectors)
    return sites


def excuses():
    """{place: reason}; the file has `place: reason` a line."""
    path = f"{HERE}/untouched.txt"
    with open(path, encoding="utf-8") as f:
        lines = [l.rstrip("\n") for l in f if l.strip() and not l.startswith("#")]
    return dict(l.split(": ", 1) for l in lines)


def fault_rows(sites, seen):
    """All rows {(file, line, vector)} and by which suites; lines that name no vector have those that were seen."""
    by = collections.defaultdict(set)
    for suite, faults in seen.items():
        for name, line, vector, _ in faults:
            by[(name, line, vector)].add(suite)
    rows = set(by)
    for (name, line), (_, vectors) in sites.items():
        rows |= {(name, line, v) for v in vectors}
        if not vectors and not any(r[:2] == (name, line) for r in by):
            rows.add((name, line, -1))
    return rows, by


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build")
    p.add_argument("--only", default=",".join(SUITES))
    p.add_argument("--keep")
    p.add_argument("--read", action="store_true")
    p.add_argument("--write")
    args = p.parse_args()
    build = os.path.abspath(args.build)
    suites = args.only.split(",")
    with tempfile.TemporaryDirectory() as tmp:
        where = args.keep or tmp
        os.makedirs(where, exist_ok=True)
        for s in suites:
            if not args.read:
                if os.path.exists(f"{where}/{s}"):
                    os.unlink(f"{where}/{s}")
                run(s, build, f"{where}/{s}")
        got = {s: read(f"{where}/{s}") for s in suites if os.path.exists(f"{where}/{s}")}
    rows, sites, excused = table(build), fault_sites(), excuses()
    touched = {s: set(got[s][0][SUITES[s][0]]) for s in got}
    moved = {s: set(got[s][0]["translated"]) for s in got}
    ran = set().union(*(t for s, t in touched.items() if s not in TABLES), *moved.values())
    refused = set().union(*(got[s][0]["refused"] for s in got)) - ran
    faults, by = fault_rows(sites, {s: got[s][1] for s in got})

    def place(row):
        return f"{rows[row][0]} {rows[row][1]}"

    def fault_place(row):
        name, line, vector = row
        return f"{name} {sites.get((name, line), ('?',))[0]} {VECTORS.get(vector, 'any')}"

    lines = ["| Suite | rows executed | rows translated | faults |", "|---|---|---|---|"]
    for s in got:
        n_faults = sum(s in by[f] for f in faults)
        what = SUITES[s][0]
        lines.append(f"| {s} | {len(touched[s])}{'' if what in ('executed', 'translated') else ' ' + what} | "
                     f"{len(moved[s])} | {n_faults} |")
    lines.append(f"| executed or translated by any | {len(ran)} of {len(rows)} | "
                 f"{len(set().union(*moved.values()))} | {sum(bool(by[f]) for f in faults)} of {len(faults)} |")
    if refused:
        lines.append(f"| … or refused, not being in CPUID | {len(ran | refused)} of {len(rows)} | | |")
    classes = ["", "| Fault | causes | touched | by suite |", "|---|---|---|---|"]
    for v in sorted({f[2] for f in faults}):
        of = [f for f in faults if f[2] == v]
        per = {s: sum(s in by[f] for f in of) for s in got}
        classes.append(f"| {VECTORS.get(v, v)} | {len(of)} | {sum(bool(by[f]) for f in of)} | "
                       + ", ".join(f"{s} {n}" for s, n in per.items() if n) + " |")
    codes = sorted({kind for s in got for _, _, vector, kind in got[s][1] if vector == 14})
    pairs = sorted({kind for s in got for _, _, vector, kind in got[s][1] if vector == 8})
    classes += ["", "Error codes of #PF: " + ", ".join(f"{c:x}" for c in codes) + ".",
                "#DF came of: " + ", ".join(f"{VECTORS.get(p >> 8, p >> 8)} then {VECTORS.get(p & 255, p & 255)}"
                                            for p in pairs) + "."]
    missing, absent = collections.defaultdict(list), 0
    for r in rows.keys() - ran - refused:
        if rows[r][2] == "1" or place(r) in excused:
            missing[place(r)] = []
        else:
            absent += 1
    for f in sorted(f for f in faults if not by[f]):
        missing[fault_place(f)].append(f"x86/{f[0]}:{f[1]}")
    names = sorted({rows[r][0] for r in refused if rows[r][2] == "0"})
    classes += [f"Refused: {', '.join(names)}."] if names else []
    text = "\n".join(lines + classes)
    print(text)
    if absent:
        print(f"{absent} rows are not of this host")
    bad = 0
    for m, at in sorted(missing.items()):
        if len(at) > 1:  # one reason for several lines says how many
            m += f" ×{len(at)}"
        if m not in excused:
            bad = 1
            print(f"untouched: {m}" + (f" ({', '.join(at)})" if at else ""))
    names = {m + (f" ×{len(at)}" if len(at) > 1 else ""): at for m, at in missing.items()}
    for m in sorted(set(excused) - set(names)):
        print(f"no longer untouched: {m}")
        bad = 1
    if args.write:
        with open(f"{HERE}/coverage.head", encoding="utf-8") as f:
            head = f.read()
        with open(args.write, "w", encoding="utf-8") as f:
            f.write(head + text + "\n")
            if names:
                f.write("\n## Untouched\n\n| Row | Why |\n|---|---|\n"
                        + "".join(f"| {m} | {excused.get(m, '**no reason**')} |\n" for m in sorted(names)))
    return bad


sys.exit(main())
