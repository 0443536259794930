#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Writes that come late (--kvm-coalesced, engine/kvm/late.c), as far as this host's /dev/kvm goes: each has its effect before the access that needs
it and is in the history; while there are rules none is late; a save at any moment loses none."""
import json
import os
import subprocess
import time

import vigia_test as vt
from survive import survives

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = 33  # of a guest that has written 10H to its exit port
ROUNDS = int(os.environ.get("VIGIA_LATE_ROUNDS", "12"))
INDICES = {("port", 0x70): 800, ("mmio", 0xfec00000): 1000}  # writes in 200 rounds


def options(w, name, *more):
    return ("--name", name, "--net", "none", "--memory", "16M", "--exit-port", "0xf4", "--kernel", w.file("late.elf"), *more)


def late(name):
    return json.loads(vt.vigia("stats", name, "--json")[1])["late-writes"]


def exits(name):
    return sum(sum(c["exits"].values()) for c in json.loads(vt.vigia("stats", name, "--json")[1])["vcpus"])


def recorded(w, engine, *more):
    """The guest finds what it should, and the history has each write, in whatever way it came."""
    name = f"late-{engine}-{len(more)}-{os.getpid()}"
    with vt.VM("--engine", engine, *options(w, name, *more)) as vm:
        vm.wait(60, GOOD)
    status, out, err = vt.vigia("history", name, "--json", "--sql", "SELECT class, addr, sum(count) AS n FROM events WHERE op='write' AND "
                                "(class='port' AND addr=112 OR class='mmio' AND addr=0xfec00000) GROUP BY 1, 2")
    vt.check(status == 0, f"the history {err.strip()}")
    got = {(r["class"], r["addr"]): r["n"] for r in map(json.loads, out.splitlines())}
    vt.check(got == INDICES, f"{engine} {' '.join(more)}: each write is in the history: {got}")


def going(w, name, *more):
    vm = vt.VM("--engine", "kvm", "--sandbox", "off", *options(w, name, "--append", "+", *more))
    vm.expect(r"\.\.", 30)
    return vm


def follows_rules(w):
    name, rules, none = f"late-{os.getpid()}", w.file("rules", b"deny port 0x5555\ndeny mmio 0xd0000000\n"), w.file("none", b"\n")
    with going(w, name, "--cpus", "2") as vm:
        vt.check(late(name) > 0, "writes come late")
        for text, some in ((rules, False), (none, True)):
            vt.check(vt.vigia("policy", "set", name, text)[0] == 0, "rules are set")
            vm.expect(r"\.\.", 30)  # whatever was on its way
            before, end = late(name), time.monotonic() + (30 * vt.PATIENCE if some else 1)
            while late(name) == before and time.monotonic() < end:
                time.sleep(0.1)
            vt.check((late(name) > before) == some, f"with {'no ' if some else ''}rules {'some are' if some else 'none is'} late")
        vt.check(b"WRONG" not in vm.output, "and each is what it should be")
        vm.process.kill()


def share(w, *more):
    """Accesses that left the guest, in a hundred that it made."""
    name = f"late-share-{len(more)}-{os.getpid()}"
    with going(w, name, *more) as vm:
        left, came = exits(name), late(name)
        vm.process.kill()
    return 100 * left // (left + came)


def main():
    with vt.Workdir() as w:
        subprocess.run(["nasm", "-f", "bin", "-i", f"{HERE}/", "-o", w.file("late.elf"), f"{HERE}/late.asm"], check=True)
        recorded(w, "soft")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            vt.skip("no /dev/kvm here; in the rig: t_kvm.py")
        for more in ((), ("--kvm-coalesced", "off"), ("--kvm-irqchip", "off", "--cpus", "2")):
            recorded(w, "kvm", *more)
        on, off = share(w), share(w, "--kvm-coalesced", "off")
        vt.check(off == 100 and on < 50, f"{on} % of the accesses leave the guest, {off} without")
        follows_rules(w)
        name = f"late-save-{os.getpid()}"
        survives(w, going(w, name), name, rb"WRONG", ROUNDS)


if __name__ == "__main__":
    main()
