#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vigia-soft.elf on a processor without virtualization: it says so, and translates. A small guest crashes, one tries to get out,
the suites of protected and long mode run; all on two processors. Where there is virtualization, it is used.

  tests/boot/t_metal_soft.py --linux    also Debian's kernel, to its shell: some minutes, as QEMU translates the translator"""
import os
import re
import subprocess
import sys

import vigia_test as vt
from baremetal import QEMU, SOFT_ELF, need

# The translator has the processor itself raise exceptions of FP instructions, and TCG raises none of SSE's and not all of
# x87's; without XSAVE, XSETBV is #UD before it is anything else.
TCG = ("#MF not at FNSTSW", "#MF at an MMX instruction", "#XM", "#UD instead of #XM without OSXMMEXCPT", "XSETBV, ring 3")

need(QEMU, "nasm", elf=SOFT_ELF)


def machine(cpu, *args, smp=2):
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", cpu, "-M", "q35", "-m", "640", "-smp", str(smp), "-display",
                          "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel", SOFT_ELF, *args])


def assemble(work, source):
    path = os.path.join(vt.ROOT, "tests", source)
    out = work.file(os.path.basename(source) + ".bin")
    subprocess.run(["nasm", "-f", "bin", "-DSHOWN=1000", "-i", os.path.dirname(path) + "/", "-o", out, path], check=True)
    return out


def fleet(work, *vms):
    text = "".join(f"- name: {name}\n  kernel: {kernel}\n  memory: {memory}\n  net: [none]\n  {more}\n" for name, kernel, memory, more in vms)
    out = work.file("fleet.cpio")
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", out], check=True, stdout=subprocess.DEVNULL)
    return out


with vt.Workdir() as work:
    small = assemble(work, "boot/metal.asm")
    vms = [("small", small, "16M", ""), ("probe", assemble(work, "boot/metalprobe.asm"), "16M", ""),
           ("sys32", assemble(work, "guest/sys32.asm"), "64M", "append: vigia test"),
           ("sys64", assemble(work, "guest/sys64.asm"), "64M", "append: vigia test")]
    if "--linux" in sys.argv:
        vms.append(("linux", vt.kernel(), "128M", f"initrd: {vt.initramfs()}\n  append: console=ttyS0 quiet vigia.run=cpus vigia.end=shell"))
    with machine("qemu64,-svm", "-initrd", fleet(work, *vms)) as vm:
        def said(pattern, timeout):
            """Lines of the guests come in any order."""
            vm.position = 0
            return vm.expect(pattern, timeout)

        said(r"cannot run VMs here: it has neither SVM \(AMD\) nor VMX \(Intel\)\. They are translated", 60)
        print("ok: it says that the processor has no virtualization")
        said(r"small\| small guest counts 4", 240)
        said(r"small: triple fault of vCPU 0", 60)
        said(r"probe\| all attempts held", 240)
        print("ok: the small guest runs and crashes; another has neither the processor's extension nor memory nor ports of others")
        for suite, known in (("sys32", ()), ("sys64", TCG)):
            rows, failed = (int(n) for n in said(rf"{suite}\| (\d+) rows, (\d+) failed", 900).groups())
            bad = re.findall(rf"{suite}\| FAIL ([^\r\n]*)", vm.output.decode(errors="replace"))
            wrong = [line for line in bad if not line.startswith(known)] if known else bad
            vt.check(rows > 3000 and len(bad) == failed and not wrong, f"{suite}: {rows} rows, {failed} failed, all of them TCG's own"
                     + "".join("\n  " + w for w in wrong))
        if "--linux" in sys.argv:
            said(r"linux\| VIGIA cpus=1\s", 1500)
            print("ok: Debian's kernel comes to its shell")
        # A VM's memory and its engine's are used again
        own = []
        for n in range(3):
            vm.send("start small\n")
            said(rf"(?s)(small: triple fault.*){{{n + 2}}}small: crashed", 240)
            vm.send("stats\n")
            own.append(int(vm.expect(r"own (\d+) KiB", 60)[1]))
        # An engine's memory is tens of MiB; what of the VMs' threads is still there, some
        vt.check(own[2] < own[0] + 12 * 1024, f"what a VM's engine has needed the next one uses: {own} KiB")
        vt.check(b"BUG:" not in vm.output and b"panic" not in vm.output, "no trouble meanwhile")
    with machine("EPYC", "-initrd", fleet(work, ("small", small, "16M", "")), smp=1) as vm:
        vm.expect(r"small: triple fault of vCPU 0", 120)
        vt.check(b"translated" not in vm.output, "where there is virtualization, it is used")
