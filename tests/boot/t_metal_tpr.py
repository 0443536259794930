#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The task priority under the bare-metal hypervisor, by SVM (QEMU) and by VMX (Bochs): CR8 holds interrupts off and lets them in as the
manuals say, and a guest that moves it up and down hardly ever leaves for that."""
import vigia_test as vt
from baremetal import QEMU, Machine, assemble, attempts_held, bochs, entries, need, need_vmx, pack, small

ROUNDS = 100000  # each is three accesses
MOST = 3000      # entries of all that the guest does; there were 300,000

need(QEMU, "nasm")


def fleet(work, out, *options):
    return pack(work.file(out), small("tpr", assemble(work.file("tpr"), "boot/tpr.asm", f"-DROUNDS={ROUNDS}", *options)))


def hold(vm, kind):
    attempts_held(vm, "tpr", kind)
    entered = entries(vm, "tpr")
    vt.check(entered < MOST, f"{kind}: {entered} entries for {3 * ROUNDS} accesses")


with vt.Workdir() as work:
    with Machine(fleet(work, "fleet.cpio", "-DTCG")) as vm:
        hold(vm, "SVM")
    need_vmx()
    with bochs.Bochs(work, fleet(work, "vigia.iso")) as vm:
        hold(vm, "VMX")
