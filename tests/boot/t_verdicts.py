#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Ports, device memory, MSRs, CPUID and the console under each verb: what verdicts.asm saw of each rule, and what the
history has of it, in each way of executing alike. Under kvm CPUID's answers are a table that KVM has the last word on,
and one that emulates ignores it: t_kvm.py has those rules in the rig."""
import json
import os
import shutil
import subprocess

import vigia_test as vt

PROVIDE, REDIRECT, DENY = range(3)
GP, ONES = "000bad13", "ffffffff"
SAME = None  # the guest is provided: the value is the machine's

# rule; what the guest saw, by name; (class, operation, verdict) that the history has with the rule's line
TABLE = [
    ("provide port read 0x3fb limit 2", {"port-limit-1": "00000003", "port-limit-2": "00000003", "port-limit-3": "000000ff"},
     [("port", "read", PROVIDE), ("port", "read", DENY)]),
    ("redirect port read 0x3ff -> 0x77", {"port-redirect-read": "00000077"}, [("port", "read", REDIRECT)]),
    ("redirect port write 0x3f9 -> 2", {"port-redirect-write": "00000002"}, [("port", "write", REDIRECT)]),
    ("deny port read 0x3fe", {"port-deny-read": "000000ff"}, [("port", "read", DENY)]),
    ("deny port write 0x3fc", {"port-deny-write": "00000000"}, [("port", "write", DENY)]),
    ("provide mmio read 0xfee000f0 limit 2", {"mmio-limit-1": SAME, "mmio-limit-2": SAME, "mmio-limit-3": ONES},
     [("mmio", "read", PROVIDE), ("mmio", "read", DENY)]),
    ("redirect mmio read 0xfee00030 -> 0x12345678", {"mmio-redirect-read": "12345678"}, [("mmio", "read", REDIRECT)]),
    ("redirect mmio write 0xfee00080 -> 0x20", {"mmio-redirect-write": "00000020"}, [("mmio", "write", REDIRECT)]),
    ("deny mmio read 0xfee00020", {"mmio-deny-read": ONES}, [("mmio", "read", DENY)]),
    ("deny mmio write 0xfee003e0", {"mmio-deny-write": "00000000"}, [("mmio", "write", DENY)]),
    ("provide msr read 0x277 limit 2", {"msr-limit-1": SAME, "msr-limit-2": SAME, "msr-limit-3": GP},
     [("msr", "read", PROVIDE), ("msr", "read", DENY)]),
    ("redirect msr read 0x174 -> 0x1234", {"msr-redirect-read": "00001234"}, [("msr", "read", REDIRECT)]),
    ("redirect msr write 0x176 -> 0x5678", {"msr-redirect-write": "00005678"}, [("msr", "write", REDIRECT)]),
    ("deny msr read 0x175", {"msr-deny-read": GP}, [("msr", "read", DENY)]),
    ("deny msr write 0x277", {"msr-deny-write": GP}, [("msr", "write", DENY)]),
    ("provide cpuid eax 0 limit 2", {"cpuid-limit-1": SAME, "cpuid-limit-2": SAME, "cpuid-limit-3": "00000000"},
     [("cpuid", "eax", DENY)]),
    ("redirect cpuid 1 edx -> 0x55", {"cpuid-redirect": "00000055"}, [("cpuid", "edx", REDIRECT)]),
    ("deny cpuid 7 ebx", {"cpuid-deny": "00000000"}, [("cpuid", "ebx", DENY)]),
    ("deny console in", {"console-in": "00000000"}, [("console", "in", DENY)]),
    ("provide console out limit 4000B", {}, [("console", "out", PROVIDE), ("console", "out", DENY)]),
]

if not shutil.which("nasm"):
    vt.skip("nasm is missing: apt-get install nasm")


def sql(name, text):
    status, out, err = vt.vigia("history", name, "--json", "--sql", text)
    vt.check(status == 0, f"{text[:40]}… {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


def run(d, name, engine, env, rules):
    with vt.VM("--name", name, "--policy", rules, "--kernel", d.file("verdicts.elf"), "--exit-port", "0xf4", "--net", "none",
               "--memory", "64M", "--engine", engine, "--kvm-irqchip", "off", env=env) as vm:
        vm.expect(r"type\r?\n", 60)
        vm.send("a")
        vm.wait(60, 1)
    return vm.output.decode(errors="replace")


def silent(d, way, engine, env):
    """A guest whose console is denied writes all the same, and nobody sees it."""
    name = f"silent-{way}"
    with vt.VM("--name", name, "--policy", d.file("silent.rules", b"deny console out\n"), "--kernel", d.file("verdicts.elf"),
               "--exit-port", "0xf4", "--net", "none", "--memory", "64M", "--engine", engine, "--kvm-irqchip", "off", env=env) as vm:
        vm.wait(60, 1)
    vt.check(not vm.output.strip(), f"{way}: 'deny console out': nothing came: {vm.output[-40:]!r}")
    got = {(r["op"], r["v"], r["rule"]): r["n"] for r in sql(
        name, "SELECT op, verdict AS v, rule, sum(CASE counted WHEN 1 THEN sum ELSE value END) AS n FROM events WHERE class='console' GROUP BY 1, 2, 3")}
    vt.check(list(got) == [("out", DENY, 1)] and got["out", DENY, 1] > 6000, f"{way}: that is recorded, and no text: {got}")


with vt.Workdir() as d:
    here = os.path.dirname(os.path.abspath(__file__))
    subprocess.run(["nasm", "-f", "bin", "-i", os.path.join(here, "../guest") + "/", "-o", d.file("verdicts.elf"),
                    os.path.join(here, "verdicts.asm")], check=True)
    free = d.file("no.rules", b"# nothing\n")
    ways = [("soft", {}), ("interp", {"VIGIA_SOFT_INTERP": "1"}), ("tiny", {"VIGIA_SOFT_CACHE": "131072"})]
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        ways.append(("kvm", {}))
    for way, env in ways:
        engine = "kvm" if way == "kvm" else "soft"
        table = [row for row in TABLE if engine == "soft" or " cpuid " not in row[0]]
        ruled = d.file(f"{way}.rules", "".join(rule + "\n" for rule, _, _ in table).encode())
        text = run(d, f"free-{way}", engine, env, free)
        plain = dict(line.split("=") for line in text.splitlines() if "=" in line)
        vt.check(text.count("x") == 6000 and plain["console-in"] == "00000061", f"{way}: without rules it has all")
        vt.check(not sql(f"free-{way}", "SELECT * FROM verdicts"), f"{way}: and no verdict is recorded")
        text = run(d, f"ruled-{way}", engine, env, ruled)
        got = dict(line.split("=") for line in text.splitlines() if "=" in line)
        found = {(r["rule"], r["class"], r["op"], r["v"]) for r in sql(
            f"ruled-{way}", "SELECT DISTINCT rule, class, op, verdict AS v FROM events WHERE rule!=0")}
        for line, (rule, seen, recorded) in enumerate(table, 1):
            for what, value in seen.items():
                want = plain[what] if value is SAME else value
                vt.check(got.get(what) == want, f"{way}: {rule!r}: {what} is {got.get(what)}")
                vt.check(value in (SAME, plain[what]) or plain[what] != got[what], f"{way}: which it is not without")
            for cls, op, verdict in recorded:
                vt.check((line, cls, op, verdict) in found, f"{way}: {rule!r}: {cls} {op} {verdict} is recorded")
        vt.check(len(found) == sum(len(r) for _, _, r in table), f"{way}: and nothing else: {len(found)}")
        vt.check(0 < text.count("x") < 4000, f"{way}: of 6000 bytes {text.count('x')} came through")
        silent(d, way, engine, env)
