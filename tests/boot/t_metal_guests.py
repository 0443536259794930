#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The suites of tests/guest that t_metal_suites.py and t_metal_vmx.py do not have, under the bare-metal hypervisor, by SVM (QEMU) and by VMX
(Bochs): multiboot, TSC deadlines, level-triggered interrupts, the x2APIC of 32 processors, x87 errors, a triple fault. What
is left are the PC board's, which is not there, and that of 57 bits of addresses, which neither emulator has."""
import re

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, bochs, need, need_vmx, pack, small

SUITES = {"mb1": 1, "mb2": 1, "deadline32": 1, "level32": 2, "x2apic32": 32, "ferr32": 1}  # processors
# TCG raises no #MF where CR0.NE is clear, nor FERR#
SVM = [name for name in SUITES if name != "ferr32"]

need(QEMU, "nasm")


def fleet(work, out, names, *options):
    text = "".join(small(name, assemble(work.file(name), f"guest/{name}.asm", *options), "append: vigia test", f"cpus: {SUITES[name]}", memory="64M")
                   for name in names)
    return pack(work.file(out), text + small("triple", assemble(work.file("triple"), "guest/triple.asm")))


def run(vm, what, names):
    vm.said(r"triple: triple fault of vCPU 0", 120)
    for name in names:
        rows, failed = (int(n) for n in vm.said(rf"{name}\|[^\n]*?(\d+) rows, (\d+) failed", 200).groups())
        bad = re.findall(rf"{name}\| FAIL ([^\r\n]*)", vm.output.decode(errors="replace"))
        vt.check(rows and not failed, f"{what}: {name}: {rows} rows, {failed} failed" + "".join("\n  " + b for b in bad))
    vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, f"{what}: no trouble meanwhile")


with vt.Workdir() as work:
    with Machine(fleet(work, "fleet.cpio", SVM), memory=768, smp=2) as vm:
        run(vm, "SVM", SVM)
        vm.poweroff()
    need_vmx()
    # 32 processors that wait for each other have 32 parts of a hundred million instructions a second: by themselves
    for names in ([name for name in SUITES if name != "x2apic32"], ["x2apic32"]):
        # Its TSC has 100 MHz: a moment of a tenth of a second
        with bochs.Bochs(work, fleet(work, "vigia.iso", names, "-DMOMENT=10000000"), memory=512) as vm:
            run(vm, "VMX", names)
