#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What guests try against the bare-metal hypervisor and each other, by SVM (QEMU) and by VMX (Bochs): one looks for memory by each address,
for the processor's extensions, registers of hypervisors, and has its tables, code and stack where no memory is; others have
their page tables, gates, segments and tasks there and nowhere else, which ends them alone. Two witnesses, before and after them in
memory, whose memory stays as it was meanwhile; what ended starts again."""
import vigia_test as vt
from baremetal import QEMU, Machine, assemble, attempts_held, bochs, need, need_vmx, pack, small

MEMORY = 160  # MiB of the machine, as isolation.asm has it, which tries each page
ENDS = ("NOTABLES", "NOIDT", "NOGDT", "NOTSS")

need(QEMU, "nasm")


def witness(work, number):
    light = f"policy: {work.file('light', b'provide cpu any weight 20%')}"
    return small(f"witness{number}", assemble(work.file(f"witness{number}"), "boot/witness.asm", f"-DNUMBER={number * 0x1234567}"), light)


def fleet(work, out):
    ends = "".join(small(kind.lower(), assemble(work.file(kind), "boot/trouble.asm", "-D" + kind)) for kind in ENDS)
    probe = small("probe", assemble(work.file("isolation"), "boot/isolation.asm"))
    return pack(work.file(out), witness(work, 1) + probe + ends + witness(work, 2))


def hold(vm):
    vt.check(attempts_held(vm, "probe", "whatever it tries") > 30, "all of them")
    for kind in ENDS:
        vm.said(rf"{kind.lower()}: triple fault of vCPU 0", 60)
        vm.said(rf"{kind.lower()}: crashed", 60)
    print("ok: who has no tables ends")
    vm.position = len(vm.output)
    vm.send(f"start {ENDS[0].lower()}\n")
    vm.expect(rf"{ENDS[0].lower()}: crashed", 60)
    for number in (1, 2):
        vm.position = len(vm.output)
        for _ in range(2):  # the second round began after all that
            vm.expect(rf"witness{number}\| all is as it was", 120)
    vt.check(b"SOMETHING" not in vm.output and b"BUG:" not in vm.output and b"panic" not in vm.output, "the others have their memory as it was")


with vt.Workdir() as work:
    with Machine(fleet(work, "fleet.cpio"), memory=MEMORY, smp=2) as vm:
        hold(vm)
        vm.poweroff()
    print("ok: by SVM")
    need_vmx()
    with bochs.Bochs(work, fleet(work, "vigia.iso"), memory=MEMORY) as vm:
        hold(vm)
    print("ok: by VMX")
