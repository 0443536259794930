#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vigia-soft.elf on a processor without virtualization: it says so, and translates. A small guest crashes, one tries to get out,
the suites of protected and long mode run; all on two processors. Where there is virtualization, it is used.

  tests/boot/t_metal_soft.py --linux    also Debian's kernel, to its shell: some minutes, as QEMU translates the translator"""
import os
import re
import sys

import vigia_test as vt
from baremetal import QEMU, SOFT_ELF, Machine, assemble, linux, need, pack, small

# The translator has the processor itself raise exceptions of FP instructions, and TCG raises none of SSE's and not all of
# x87's; without XSAVE, XSETBV is #UD before it is anything else.
TCG = ("#MF not at FNSTSW", "#MF at an MMX instruction", "#XM", "#UD instead of #XM without OSXMMEXCPT", "XSETBV, ring 3")

need(QEMU, "nasm", elf=SOFT_ELF)


def guest(work, source):
    return assemble(work.file(os.path.basename(source)), source, "-DSHOWN=1000")


with vt.Workdir() as work:
    counts = small("small", guest(work, "boot/metal.asm"))
    fleet = counts + small("probe", guest(work, "boot/metalprobe.asm"))
    fleet += "".join(small(name, guest(work, f"guest/{name}.asm"), "append: vigia test", memory="64M") for name in ("sys32", "sys64"))
    if "--linux" in sys.argv:
        fleet += linux("linux", "vigia.run=cpus", memory="128M")
    with Machine(pack(work.file("fleet.cpio"), fleet), elf=SOFT_ELF, cpu="qemu64,-svm", memory=640, smp=2) as vm:
        vm.said(r"cannot run VMs here: it has neither SVM \(AMD\) nor VMX \(Intel\)\. They are translated", 60)
        print("ok: it says that the processor has no virtualization")
        vm.said(r"small\| small guest counts 4", 240)
        vm.said(r"small: triple fault of vCPU 0", 60)
        vm.said(r"probe\| all attempts held", 240)
        print("ok: the small guest runs and crashes; another has neither the processor's extension nor memory nor ports of others")
        for suite, known in (("sys32", ()), ("sys64", TCG)):
            rows, failed = (int(n) for n in vm.said(rf"{suite}\| (\d+) rows, (\d+) failed", 900).groups())
            bad = re.findall(rf"{suite}\| FAIL ([^\r\n]*)", vm.output.decode(errors="replace"))
            wrong = [line for line in bad if not line.startswith(known)] if known else bad
            vt.check(rows > 3000 and len(bad) == failed and not wrong, f"{suite}: {rows} rows, {failed} failed, all of them TCG's own"
                     + "".join("\n  " + w for w in wrong))
        if "--linux" in sys.argv:
            vm.said(r"linux\| VIGIA cpus=1\s", 1500)
            print("ok: Debian's kernel comes to its shell")
        # A VM's memory and its engine's are used again
        own = []
        for n in range(3):
            vm.send("start small\n")
            vm.said(rf"(?s)(small: triple fault.*){{{n + 2}}}small: crashed", 240)
            vm.send("stats\n")
            own.append(int(vm.expect(r"own (\d+) KiB", 60)[1]))
        # An engine's memory is tens of MiB; what of the VMs' threads is still there, some
        vt.check(own[2] < own[0] + 12 * 1024, f"what a VM's engine has needed the next one uses: {own} KiB")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble meanwhile")
    own = {}
    for cpus in (1, 3):
        alone = small("alone", assemble(work.file("witness"), "boot/witness.asm", "-DNUMBER=1"), f"cpus: {cpus}", memory="128M")
        with Machine(pack(work.file("fleet.cpio"), alone), elf=SOFT_ELF, cpu="qemu64,-svm") as vm:
            vm.expect(r"alone\| all is as it was", 240)
            vm.send("stats\n")
            own[cpus] = int(vm.expect(r"own (\d+) KiB", 60)[1])
    vt.check(own[1] <= 8 * 1024 + 128 * 1024 // 100, f"the hypervisor takes at most 8 MiB and a hundredth of the guest's memory: {own[1]} KiB")
    more = (own[3] - own[1]) // 2
    vt.check(more <= 2400, f"a vCPU more takes at most 2400 KiB: {more}")
    with Machine(pack(work.file("fleet.cpio"), counts), elf=SOFT_ELF) as vm:
        vm.expect(r"small: triple fault of vCPU 0", 120)
        vt.check(b"translated" not in vm.output, "where there is virtualization, it is used")
