#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A guest in x2APIC mode under the bare-metal hypervisor: its interrupts come and end as the manuals say by SVM (QEMU), by VMX where the
processor delivers them itself (Bochs' Haswell), and where it does not (its Cannon Lake). There each end of an interrupt is an exit."""
import vigia_test as vt
from baremetal import QEMU, Machine, assemble, attempts_held, bochs, entries, need, need_vmx, pack, small

ROUNDS = 10000  # of an interrupt to itself: an exit, and its end

need(QEMU, "nasm")


def fleet(work, out):
    return pack(work.file(out), small("apicv", assemble(work.file("apicv"), "boot/apicv.asm", f"-DROUNDS={ROUNDS}")))


def hold(vm, kind):
    """How often the guest was entered."""
    attempts_held(vm, "apicv", kind)
    return entries(vm, "apicv")


with vt.Workdir() as work:
    with Machine(fleet(work, "fleet.cpio")) as vm:
        hold(vm, "SVM")
    need_vmx()
    entered = {}
    for model in ("corei7_haswell_4770", "corei3_cnl"):
        with bochs.Bochs(work, fleet(work, "vigia.iso"), model=model) as vm:
            entered[model] = hold(vm, model)
    print(f"entries: {entered}")
    vt.check(ROUNDS <= entered["corei7_haswell_4770"] < 1.2 * ROUNDS, "an interrupt's end is no exit where the processor does it")
    vt.check(entered["corei3_cnl"] > 2 * ROUNDS, "and is one where it does not")
