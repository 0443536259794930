#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Guests that loop with interrupts off share a processor by VMX (Bochs), as by SVM (t_metal_fair.py): their slices end, and nobody waits
longer than 20 ms; nor because of one beside them that reads and writes ports, MSRs and memory at random."""
import time

import vigia_test as vt
from baremetal import assemble, bochs, need_vmx, pack, small

NAMES = ("one", "two", "waker")
MOST = 20000  # us: fair.h
SECONDS = 3   # of the machine's

need_vmx("nasm")

with vt.Workdir() as work:
    hog, halt = assemble(work.file("hog"), "boot/hog.asm"), assemble(work.file("halt"), "boot/hog.asm", "-DHALT")
    fleet = small("one", hog) + small("two", hog) + small("waker", halt) + small("noise", assemble(work.file("noise"), "boot/trouble.asm", "-DNOISE"))
    with bochs.Bochs(work, pack(work.file("vigia.iso"), fleet), memory=128) as vm:
        for _ in NAMES:
            vm.expect(r"computes", 240)
        up = 0
        while up < SECONDS:
            vm.send("stats\n")
            up = int(vm.expect(r"up (\d+) s", 60)[1])
            got = {name: tuple(map(int, vm.expect(rf"{name} +cpu (\d+) ms, waited (\d+) us at most", 60).groups())) for name in NAMES}
            time.sleep(0.5)
        vm.said(r"noise\| trouble begins", 120)
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble in the hypervisor")
        print(f"(ms, longest wait in us): {got}")
        vt.check(abs(got["one"][0] - got["two"][0]) < 0.1 * got["one"][0], "they have equal shares")
        vt.check(all(waited <= MOST for _, waited in got.values()), "nobody waits longer than 20 ms")
