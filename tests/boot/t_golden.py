#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The golden history of a small guest: golden.asm does a known number of things, and each engine tells the
same of them."""
import json
import shutil

import vigia_test as vt
from golden import GOLDEN, VALUES, assemble

if not shutil.which("nasm"):
    vt.skip("nasm is missing: apt-get install nasm")


def sql(name, text):
    status, out, err = vt.vigia("history", name, "--json", "--sql", text)
    vt.check(status == 0, f"{text[:40]}… {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


def run(d, way, engine, env, golden):
    name = "golden-" + way.replace(" ", "-")
    with vt.VM("--name", name, "--engine", engine, "--kvm-irqchip", "off", "--kernel", d.file("golden.elf"), "--exit-port", "0xf4", "--net", "none",
               "--memory", "64M", env=env) as vm:
        vm.wait(120, 1)
    got = {(r["class"], r["op"], r["addr"]): r["n"] for r in sql(
        name, "SELECT class, op, addr, sum(count) AS n FROM events WHERE class IN ('cpu','cpuid','msr','port','mmio') "
              "AND op NOT IN ('space','user') GROUP BY 1, 2, 3")}
    for key in sorted(set(golden) | set(got)):
        vt.check(got.get(key) == golden.get(key), f"{way}: {key} happened {got.get(key)} times")
    for (cls, op, addr), value in VALUES.items():
        if (cls, op, addr) in golden:
            first = sql(name, f"SELECT value FROM events WHERE class='{cls}' AND op='{op}' AND addr={addr} ORDER BY seq LIMIT 1")
            vt.check(first[0]["value"] == value, f"{way}: {cls} {op}: the first value in full")
    if ("cpu", "#UD", 0) in golden:
        root = sql(name, "SELECT seconds, user_seconds AS user FROM spaces WHERE cr3=2097152")
        vt.check(len(root) == 1 and 0.5 < root[0]["user"] / root[0]["seconds"] <= 1,
                 f"{way}: its root ran mostly in user mode: {root}")
        first = sql(name, "SELECT seconds, switches FROM spaces WHERE cr3=0")
        vt.check(len(first) == 1 and first[0]["seconds"] > 0 and first[0]["switches"] == 1, f"{way}: what it did before, without paging, has its time: {first}")
    status, out, _ = vt.vigia("history", name, "--verify")
    vt.check(status == 0 and out.startswith("intact"), f"{way}: intact")


with vt.Workdir() as d:
    assemble(d.file("golden.elf"))
    run(d, "soft", "soft", {}, GOLDEN)
    run(d, "tiny cache", "soft", {"VIGIA_SOFT_CACHE": "131072"}, GOLDEN)
    run(d, "interp", "soft", {"VIGIA_SOFT_INTERP": "1"}, GOLDEN)
    _, out, _ = vt.vigia("doctor", "--json", timeout=120)
    kvm = [r for r in json.loads(out)["rows"] if r["name"] == "kvm"]
    if kvm and kvm[0]["grade"] == "good":
        # the other classes of the processor stay in the host's kernel; in the rig: t_kvm.py
        run(d, "kvm", "kvm", {}, {k: n for k, n in GOLDEN.items() if k[0] in ("port", "mmio", "msr")})
    else:
        print(f"not under kvm: {kvm[0]['found'] if kvm else 'it is not there'}")
