#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Policy and history together: what rules deny a guest does not get, what they redirect it gets from
the rule, and the history has each verdict with the line that gave it. Rules change while the VM runs."""
import json
import os
import re
import time

import vigia_test as vt


def rows(name, *args):
    status, out, err = vt.vigia("history", name, "--json", *args)
    vt.check(status == 0, f"vigia history {' '.join(args)} {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


with vt.Workdir() as d:
    bad = d.file("bad.rules", b"# one line\ndeny prot 1\n")
    status, _, err = vt.vigia("run", "--policy", bad, "--net", "none", *vt.busybox())
    vt.check(status == 1 and "bad.rules:2:6" in err, f"an error says where: {err.strip()}")

    disk = d.file("disk.img", size=1 << 20)
    rules = d.file("a.rules", b"deny disk write sectors 0-7 notify\n"
                              b"redirect cpuid 0x40000000 ebx -> 0x41474956\n"
                              b"redirect cpuid 0x40000000 ecx -> 0x41474956\n"
                              b"deny entropy any\nprovide cpu any weight 20%\n")
    status, out, _ = vt.vigia("policy", "check", rules)
    vt.check(status == 0 and "5 rules" in out, "check")
    with vt.VM("--name", "ruled", "--policy", rules, "--disk", f"{disk},format=raw",
               *vt.busybox("vigia.run=modules,net vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        tasks = f"/proc/{vm.process.pid}/task"
        nice = {int(open(f"{tasks}/{t}/stat").read().rsplit(")", 1)[1].split()[16]) for t in os.listdir(tasks)
                if open(f"{tasks}/{t}/comm").read().startswith("vcpu")}
        vt.check(nice == {max(7, os.getpriority(os.PRIO_PROCESS, 0))}, f"a fifth of the weight: nice {nice}")
        status, out = vm.shell("dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync", 30)
        vt.check(status != 0, f"a write that is denied fails: {out[-80:].strip()!r}")
        status, _ = vm.shell("dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=64 conv=fsync", 30)
        vt.check(status == 0, "a write elsewhere is provided")
        status, out, err = vt.vigia("policy", "show", "ruled")
        vt.check(status == 0 and "deny disk write" in out, f"show {err}")
        none = d.file("none.rules", b"# nothing\n" + b"# a comment that makes it long\n" * 200)
        status, _, err = vt.vigia("policy", "set", "ruled", none)
        vt.check(status == 0, f"set {err}")
        status, _ = vm.shell("dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync", 30)
        vt.check(status == 0, "it is provided under the new rules")
        deadline = time.monotonic() + 20
        while "rule in line 1 denied: disk write" not in vm.stderr() and time.monotonic() < deadline:
            time.sleep(0.1)
        vt.check("rule in line 1 denied: disk write" in vm.stderr(), "notify: it is said in the log")
        vt.check(vt.vigia("policy", "set", "ruled", bad)[0] == 1, "bad rules are refused")
        status, _ = vm.shell("until grep -q 'OutMLDv2Reports.*[1-9]' /proc/net/snmp6; do sleep 0.1; done", 30)
        vt.check(status == 0, "the guest has told of its multicast groups")
        vt.vigia("stop", "ruled")
        vm.send("poweroff -f\n")
        vm.wait(60)

    denied = [r for r in rows("ruled", "--class", "disk") if r["verdict"] == 2]
    vt.check(denied and all(r["rule"] == 1 for r in denied), "the history has the denied write and its rule")
    done = [r for r in rows("ruled", "--class", "disk", "--op", "write") if r["verdict"] == 0]
    vt.check(any(r["addr"] == 64 * 512 and r["sum"] > 0 for r in done), "a write that was provided has its time")
    redirected = [r for r in rows("ruled", "--class", "cpuid") if r["verdict"] == 1]
    vt.check(redirected and {r["rule"] for r in redirected} == {2, 3}, "redirected CPUID registers")
    vt.check(any(r["verdict"] == 2 for r in rows("ruled", "--class", "entropy")), "denied entropy")
    share = rows("ruled", "--class", "cpu", "--op", "share")
    vt.check(share and share[0]["rule"] == 5 and "weight 20 %" in share[0]["text"], "the weight is recorded")
    vt.check(any("policy by uid" in r.get("text", "") for r in rows("ruled", "--class", "operator")),
             "who has set the rules")

    status, out, err = vt.vigia("policy", "test", rules, "--history", "ruled")
    vt.check(status == 0 and "line 1 denies" in out, f"test against the past {err}")
    status, out, err = vt.vigia("policy", "suggest", "ruled")
    vt.check(status == 0 and "deny port any" in out and "0x3f8" in out, f"suggest {err}")
    for line in (f"provide operator policy uid {os.getuid()}", "deny operator any", "provide console out", "provide cpuid 0x0",
                 "deny entropy any", "provide net out ff02:0:0:0:0:0:0:16", "provide net out udp 255.255.255.255 port 67",
                 "provide net in udp 10.0.2.2 port 68", "deny net any"):
        vt.check(line in out.splitlines(), f"it suggests {line}")
    vt.check("provide entropy any" not in out.splitlines(), "but no entropy, which was denied")
    sectors = [line for line in out.splitlines() if line.startswith("provide disk write sectors ")]
    vt.check(sectors and sectors[0].endswith(" 0-71"), f"nor sectors beyond the pages that were written: {sectors}")
    tight = d.file("tight.rules", out.encode())
    status, out, err = vt.vigia("policy", "check", tight)
    vt.check(status == 0, f"what it suggests compiles {err}")
    status, out, err = vt.vigia("policy", "test", tight, "--history", "ruled")
    said = [line for line in out.splitlines() if " denies " in line and "denies  entropy" not in line]
    vt.check(status == 0 and not said, f"and would have denied nothing: {said[:3]}")
    strict = d.file("strict.rules", b"deny operator policy\ndeny console out\ndeny net udp port 67\nprovide cpu any limit 1%\n"
                                    b"redirect cpuid 0x0 eax -> 7\n")
    status, out, err = vt.vigia("policy", "test", strict, "--history", "ruled")
    for line in ("line 1 denies  operator request policy by uid", "line 2 denies  console out", "line 3 denies  net flow",
                 "line 5 redirects  cpuid eax"):
        vt.check(line in re.sub("  +", "  ", out), f"other rules: {line}")
    vt.check("line 4" not in out, "a share of the CPU denies nothing")
