#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Doorbells of virtio queues by eventfd (--kvm-ioeventfd, engine/kvm/bell.c), as far as this host's /dev/kvm goes: each ring is in the
history, whoever heard it; they follow a BAR that moves; while there are rules no thread hears them; a save at any moment loses none."""
import json
import os
import subprocess
import time

import vigia_test as vt
from survive import survives

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = 33  # of a guest that has written 10H to its exit port
ROUNDS = int(os.environ.get("VIGIA_DOORBELL_ROUNDS", "20"))
RINGS = [200, 100]  # at the first place of BAR 4, at the second


def options(w, name, how, *more):
    return ("--kvm-ioeventfd", how, "--name", name, "--net", "none", "--memory", "16M", "--exit-port", "0xf4",
            "--disk", w.file("disk.img") + ",format=raw", "--kernel", w.file("bells.elf"), *more)


def rings(name):
    """By place, in the order of time: how many the vCPU heard, how many the thread."""
    status, out, err = vt.vigia("history", name, "--json", "--sql",
                                "SELECT vcpu, addr & 0xfff00fff AS at, sum(count) AS n FROM events WHERE class='mmio' AND op='write' AND size=2 "
                                "AND value=0 AND addr & 0xfff=0 GROUP BY 1, addr ORDER BY addr")
    vt.check(status == 0, f"the history of {name} {err.strip()}")
    rows = [json.loads(line) for line in out.splitlines()]
    return [tuple(sum(r["n"] for r in rows if r["at"] == at and r["vcpu"] == who) for who in (0, -1)) for at in sorted({r["at"] for r in rows})]


def count(name):
    status, out, err = vt.vigia("stats", name, "--json")
    vt.check(status == 0, f"stats {err.strip()}")
    return json.loads(out)["doorbells"]


def counted(w, engine, how, *more):
    name = f"bells-{engine}-{how}{'-rules' if more else ''}-{os.getpid()}"
    with vt.VM("--engine", engine, *options(w, name, how, *more)) as vm:
        vm.wait(60, GOOD)
    got = rings(name)
    vt.check([sum(g) for g in got] == RINGS, f"{name}: each ring is in the history: {got}")
    return got


def follows_rules(w):
    name, rules, none = f"bells-{os.getpid()}", w.file("rules", b"deny mmio 0xd0000000\n"), w.file("none", b"\n")
    with vt.VM("--engine", "kvm", *options(w, name, "on", "--append", "+")) as vm:
        vm.expect(r"\.\.", 30)
        first = count(name)
        vt.check(first > 0, f"the thread hears: {first}")
        for text, heard in ((rules, False), (none, True)):
            vt.check(vt.vigia("policy", "set", name, text)[0] == 0, "rules are set")
            time.sleep(0.3)  # whatever was on its way
            before, end = count(name), time.monotonic() + (30 if heard else 1)
            while count(name) == before and time.monotonic() < end:
                time.sleep(0.1)
            vt.check((count(name) > before) == heard, f"with {'no ' if heard else ''}rules {'the thread hears' if heard else 'vCPUs do'}")
        vm.expect(r"\.{50}", 30)
        vm.process.kill()


def main():
    with vt.Workdir() as w:
        subprocess.run(["nasm", "-f", "bin", "-i", f"{HERE}/", "-o", w.file("bells.elf"), f"{HERE}/bells.asm"], check=True)
        w.file("disk.img", size=1 << 20)
        w.file("rules", b"deny mmio 0xd0000000\n")
        counted(w, "soft", "on")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            vt.skip("no /dev/kvm here; in the rig: t_kvm.py")
        vt.check(all(t == 0 for _, t in counted(w, "kvm", "off")), "off: vCPUs hear them all")
        vt.check(all(v == 1 for v, _ in counted(w, "kvm", "on")), "on: all but the first are the thread's")
        counted(w, "kvm", "auto")
        vt.check(all(t == 0 for _, t in counted(w, "kvm", "on", "--policy", w.file("rules"))), "rules: vCPUs hear them all")
        follows_rules(w)
        name = f"bells-save-{os.getpid()}"
        # at any moment some are rung that nobody has heard
        survives(w, vt.VM("--engine", "kvm", "--sandbox", "off", *options(w, name, "on", "--append", "+")), name, rb"LOST|FAILED", ROUNDS)


if __name__ == "__main__":
    main()
