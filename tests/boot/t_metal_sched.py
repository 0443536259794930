#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal scheduler, measured: VMs that compute share by weight and wait at most 20 ms, by a clock that goes with
the instructions (QEMU's -icount), so that what else this machine does is no part of it; by the usual clock, one with a cap
leaves its CPU idle, and pinned ones stay where they are."""
import time

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, need, pack, small

need(QEMU, "nasm")


def measure(work, vms, smp, seconds):
    """Milliseconds that each VM has run, its longest wait in microseconds, idle time of the CPUs in percent."""
    # QEMU has several processors take turns, which with instructions as the clock takes for ever
    clock = ["-icount", "shift=0,sleep=off"] if smp == 1 else []
    fleet = "".join(small(name, kernel, *([f"pin: {pin}"] if pin else []),
                          *([f"policy: {work.file(name + '.rules', rules.encode())}"] if rules else [])) for name, kernel, pin, rules in vms)
    with Machine(pack(work.file("fleet.cpio"), fleet), *clock, memory=256, smp=smp) as vm:
        def stats():
            vm.send("stats\n")
            up = int(vm.expect(r"up (\d+) s", 60)[1])
            idle = [int(vm.expect(rf"CPU {n} (\d+)% idle", 30)[1]) for n in range(smp)]
            got = {}
            for name, *_ in vms:
                m = vm.expect(rf"{name} +cpu (\d+) ms, waited (\d+) us at most, entries (\d+) \((\d+) without its TLB\)", 30)
                got[name] = tuple(map(int, m.groups()))
            return up, idle, got

        for _ in vms:
            vm.expect(r"computes", 60)
        up, _, before = now, idle, after = stats()
        limit = time.monotonic() + 300 * vt.PATIENCE
        while now < up + seconds and time.monotonic() < limit:
            time.sleep(1)
            now, idle, after = stats()
    ran = {name: after[name][0] - before[name][0] for name in after}
    waited = {name: after[name][1] for name in after}
    if smp == 1:
        lost = {name: (f"{after[name][3]} of {after[name][2]}") for name in after}
        vt.check(all(after[name][3] <= 2 < after[name][2] / 50 for name in after), f"who shares a CPU finds its TLB again: entries without it {lost}")
    print(f"{smp} CPUs: ran {ran} ms; longest waits {waited} us; CPUs idle {idle} %")
    return ran, waited, idle


with vt.Workdir() as work:
    hog, halt = assemble(work.file("hog"), "boot/hog.asm"), assemble(work.file("halt"), "boot/hog.asm", "-DHALT")
    ran, waited, _ = measure(work, (("one", hog, "", ""), ("two", hog, "", ""), ("light", hog, "", "provide cpu any weight 50%"),
                                    ("waker", halt, "", "")), 1, 4)
    vt.check(abs(ran["one"] - ran["two"]) < ran["one"] * 0.05, "equal weights, equal shares")
    vt.check(0.45 < ran["light"] / ran["one"] < 0.55, "half the weight, half the share")
    vt.check(all(waited[n] <= 20000 for n in ("one", "two", "waker")), "at equal weight nobody waits longer than 20 ms")
    for _ in range(3):  # in time that passes, of which QEMU may have less than it wants
        ran, _, idle = measure(work, (("pinned", hog, "0", ""), ("other", hog, "0", ""), ("capped", hog, "1", "provide cpu any limit 25%")), 2, 4)
        total = ran["pinned"] + ran["other"]
        capped = 0.15 < ran["capped"] / total < 0.4
        shared = 0.3 < ran["pinned"] / total < 0.7 and idle[0] < 20 and idle[1] > 40
        if capped and shared:
            break
    vt.check(capped, "about a quarter of a CPU is what one gets whose cap is that")
    vt.check(shared, "two that are pinned to one CPU share it, and the other, which has the one with the cap, idles")
