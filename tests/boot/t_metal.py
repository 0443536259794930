#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor in QEMU's emulation of an AMD processor with SVM: a Debian kernel with two
vCPUs and a disk beside a small guest that crashes and one that tries to get out, on two processors;
the shell; a guest whose descriptors point elsewhere; an image made by vigia pack, on one processor and on four, of a q35 and
of an i440FX."""
import os
import shutil
import subprocess

import vigia_test as vt
from baremetal import ELF, QEMU, need


def machine(*args, smp=1, kind="q35"):
    # One thread for all processors: see "Bare metal" in ARCHITECTURE.md.
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", kind, "-m", "384", "-smp", str(smp),
                          "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", *args])


def fleet(work, text, output, *options):
    path = work.file("fleet.yaml", text.encode())
    out = work.file(output)
    r = subprocess.run([vt.VIGIA, "pack", path, "-o", out, *options], capture_output=True, text=True,
                       check=False)
    if r.returncode:
        vt.fail(f"vigia pack: {r.stderr}")
    return out, r.stdout


def assemble(work, source):
    out = work.file(source + ".bin")
    subprocess.run(["nasm", "-f", "bin", "-o", out, os.path.join(vt.ROOT, "tests/boot", source)], check=True)
    return out


need(QEMU, "nasm")

with vt.Workdir() as work:
    small = assemble(work, "metal.asm")
    probe = assemble(work, "metalprobe.asm")
    dma = assemble(work, "dmaprobe.asm")
    disk = work.file("disk.raw", size=8 << 20)
    linux, said = fleet(work, f"""
- name: alpha
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=cpus,disk vigia.end=shell
  memory: 96M
  cpus: 2
  net: [none]
  disk: ["{disk}"]
- name: beta
  kernel: {small}
  memory: 16M
  net: [none]
- name: delta
  kernel: {probe}
  memory: 16M
  net: [none]
- name: epsilon
  kernel: {dma}
  memory: 16M
  net: [none]
  disk: ["{work.file("zeros.raw", size=1 << 20)}"]
""", "fleet.cpio")
    vt.check("alpha/kernel" in said and "alpha/disk0" in said, "vigia pack says how large each part is")
    with machine("-kernel", ELF, "-initrd", linux, smp=2) as vm:
        vm.expect(r"beta\| small guest counts 4", 60)
        vm.expect(r"beta: triple fault of vCPU 0", 30)
        print("ok: the small guest runs and crashes, the hypervisor says so")
        vm.expect(r"delta\| all attempts held", 120)
        print("ok: a guest has neither the processor's extension nor memory nor ports of others")
        vm.position = 0
        vm.expect(r"epsilon\| all descriptors refused, the disk is as it was", 240)
        print("ok: descriptors of a disk that point elsewhere are refused")
        vm.position = 0
        vm.expect(r"alpha\| VIGIA cpus=2", 240)
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
        vm.send("\x010")
        vm.send("pause alpha\nconsole alpha\n")
        vm.expect(r"Ctrl-A 0 goes back", 30)
        vm.send("echo " + "many words " * 60 + "| wc -c\n\x010resume alpha\nconsole alpha\n")
        vm.expect(r"\r\n660\r", 60)
        print("ok: what is pasted to a VM that is paused comes in full")
        vm.send("\x010")
        vm.expect(r"vigia> ", 30)
        vt.check(b"not zeros" not in vm.output, "a guest's memory is zeros at its start, the second time, too")
        vm.send("poweroff\n")
        vm.expect(r"powering off", 30)
        vm.wait(60)
        print("ok: power-off ends the machine")

    if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        vt.skip("the image is not tried: grub-mkrescue is missing: tools/packages test")
    image, said = fleet(work, f"""
- name: gamma
  kernel: {small}
  memory: 16M
  net: [none]
""", "vigia.iso", "--poweroff")
    vt.check("hypervisor" in said and "boot loader" in said, "vigia pack makes an image")
    for smp, kind in ((1, "q35"), (4, "q35"), (2, "pc")):
        with machine("-cdrom", image, smp=smp, kind=kind) as vm:
            vm.expect(r"gamma\| small guest counts 4", 120)
            vm.expect(r"gamma: crashed", 30)
            vm.wait(60)
            print(f"ok: the image starts by GRUB on a BIOS, on a {kind} with {smp} CPUs, and switches the machine off in the end")
    with machine("-cdrom", image, "-cpu", "qemu64,-svm") as vm:
        vm.expect(r"cannot run VMs here: it has neither SVM", 120)
        vm.send("poweroff\n")
        vm.wait(60)
        print("ok: a processor without virtualization is told from one with it")
