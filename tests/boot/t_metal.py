#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor in QEMU's emulation of an AMD processor with SVM: a Debian kernel with two
vCPUs and a disk beside a small guest that crashes and one that tries to get out, on two processors;
the shell; a guest whose descriptors point elsewhere; an image made by vigia pack, on four processors of an i440FX by BIOS and of
a q35 by UEFI.

  tests/boot/t_metal.py --all    the image on one processor and on four, of either, by BIOS and by UEFI"""
import os
import re
import shutil
import sys
import time

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, linux, need, packed, small

OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
MACHINES = [(4, "pc", None), (4, "q35", OVMF)]  # t_metal_screen.py has one processor of a q35, by both
if "--all" in sys.argv:
    MACHINES = [(smp, kind, firmware) for smp in (1, 4) for kind in ("q35", "pc") for firmware in (None, OVMF)]

need(QEMU, "nasm")

with vt.Workdir() as work:
    counts = assemble(work.file("metal"), "boot/metal.asm")
    disks = [work.file("disk.raw", size=8 << 20), work.file("zeros.raw", size=1 << 20)]
    fleet = (linux("alpha", "vigia.run=cpus,disk", "cpus: 2", f'disk: ["{disks[0]}"]', kernel=vt.kernel()) + small("beta", counts)
             + small("delta", assemble(work.file("probe"), "boot/metalprobe.asm"))
             + small("epsilon", assemble(work.file("dma"), "boot/dmaprobe.asm"), f'disk: ["{disks[1]}"]'))
    module, said = packed(work.file("fleet.cpio"), fleet)
    vt.check("alpha/kernel" in said and "alpha/disk0" in said, "vigia pack says how large each part is")
    with Machine(module, smp=2) as vm:
        vm.expect(r"beta\| small guest counts 4", 60)
        vm.said(r"beta: triple fault of vCPU 0", 60)
        print("ok: the small guest runs and crashes, the hypervisor says so")
        vm.said(r"delta\| all attempts held", 120)
        print("ok: a guest has neither the processor's extension nor memory nor ports of others")
        vm.said(r"epsilon\| all descriptors refused, the disk is as it was", 240)
        print("ok: descriptors of a disk that point elsewhere are refused")
        vm.said(r"alpha\| VIGIA cpus=2", 240)
        vm.expect(r"alpha\| VIGIA disk ok", 120)
        print("ok: Debian's kernel goes on, with two vCPUs and its disk")
        vm.send("list\n")
        vm.expect(r"alpha +running +2 +96 MiB", 30)
        vm.expect(r"beta +crashed", 30)
        vm.send("start beta\n")
        vm.expect(r"beta\| small guest counts 0", 60)
        vm.send("pause alpha\nlist\n")
        vm.expect(r"alpha +paused", 30)
        vm.send("resume alpha\nstats\n")
        vm.expect(r"up \d+ s, 2 CPUs", 30)
        vm.expect(r"alpha +cpu \d+ ms, waited \d+ us at most, entries \d+", 30)
        vm.send("console alpha\n")
        vm.expect(r"Ctrl-A 0 goes back", 30)
        vm.send("\n")
        status, text = vm.shell("echo said=$((6 * 7))", 60)
        vt.check(status == 0 and "said=42" in text, "a VM's console takes keys")
        date = re.search(r"date=(\d+)", vm.shell("echo date=$(date +%s)", 60)[1])
        vt.check(date and abs(int(date[1]) - time.time()) < 30, "a VM has the machine's date")
        vm.send("\x010")
        vm.send("pause alpha\nconsole alpha\n")
        vm.expect(r"Ctrl-A 0 goes back", 30)
        vm.send("echo " + "many words " * 60 + "| wc -c\n\x010resume alpha\nconsole alpha\n")
        vm.expect(r"\r\n660\r", 60)
        print("ok: what is pasted to a VM that is paused comes in full")
        vm.to()
        vt.check(b"not zeros" not in vm.output, "a guest's memory is zeros at its start, the second time, too")
        vm.send("poweroff\n")
        vm.expect(r"powering off", 30)
        vm.wait(60)
        print("ok: power-off ends the machine")

    if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        vt.skip("the image is not tried: grub-mkrescue is missing: tools/packages test")
    image, said = packed(work.file("vigia.iso"), small("gamma", counts), "--poweroff")
    vt.check("hypervisor" in said and "boot loader" in said, "vigia pack makes an image")
    for smp, kind, firmware in MACHINES:
        if firmware and not os.path.exists(firmware):
            vt.skip(f"UEFI is not tried: {firmware} is missing: tools/packages test")
        with Machine(image, *(["-bios", firmware] if firmware else []), smp=smp, kind=kind) as vm:
            vm.expect(r"gamma\| small guest counts 4", 300)
            vm.said(r"gamma: crashed", 60)
            vm.wait(60)
            print(f"ok: the image starts by GRUB on {'UEFI' if firmware else 'a BIOS'}, on a {kind} with {smp} CPUs, and switches the machine off in the end")
    with Machine(module, cpu="qemu64,-svm") as vm:
        vm.expect(r"cannot run VMs here: it has neither SVM", 120)
        vm.send("reboot\n")
        vm.expect(r"rebooting", 30)
        vm.wait(60)  # -no-reboot
        print("ok: a processor without virtualization is told from one with it; reboot restarts the machine")
