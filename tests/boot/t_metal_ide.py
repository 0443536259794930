#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks behind IDE under the bare-metal hypervisor: two Debian guests use the two of a channel at once, in QEMU, and one of them has
a sector that cannot be read. On Bochs, under VMX, a guest reads one, and the history is written to it."""
import os
import subprocess
import sys

import vigia_test as vt
from baremetal import ELF, QEMU, need

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import bochs  # noqa: E402

MIB = 1 << 20
BAD = 10000  # sector, behind what guests write

need(QEMU, "nasm", "grub-mkrescue", "xorriso")


def pack(work, text, name, *options):
    out = work.file(name)
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", out, *options], check=True, stdout=subprocess.DEVNULL)
    return out


def in_qemu(work):
    text = "".join(f"""
- name: vm{i}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=disk{run} vigia.bad={BAD} vigia.end=poweroff
  memory: 96M
  net: [none]
  disk: ["host:ide{i}"]
""" for i, run in enumerate((",bad", "")))
    args, files = [], []
    for i in range(2):
        files.append(work.file(f"disk{i}", size=16 * MIB))
        bad = f",inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector={BAD}" if not i else ""
        args += ["-blockdev", f"driver=file,node-name=f{i},filename={files[i]}", "-blockdev",
                 f"driver=blkdebug,node-name=d{i},image=f{i}{bad}", "-device", f"ide-hd,drive=d{i},bus=ide.0,unit={i},serial=SN-{i}"]
    with vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "pc", "-m", "384", "-smp", "2", "-display", "none", "-serial",
                        "stdio", "-monitor", "none", "-no-reboot", "-kernel", ELF, "-initrd", pack(work, text, "fleet.cpio", "--poweroff"),
                        *args]) as vm:
        for i in range(2):
            vm.expect(rf"ide{i}: QEMU HARDDISK, serial number SN-{i}, 16 MiB, polled", 60)
        for what in (r"vm0\| VIGIA disk ok", r"vm1\| VIGIA disk ok", r"vm0\| VIGIA bad sector alone is bad"):
            vm.position = 0
            vm.expect(what, 400)
        vm.wait(120)
    for path in files:
        with open(path, "rb") as f:
            data = f.read()
        vt.check(any(data[:4 * MIB]) and not any(data[4 * MIB:]), "what a guest has written is in the file, where it should be")
    print("ok: two disks of a channel, at once")


def on_bochs(work):
    guest = work.file("dmaprobe.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", guest, os.path.join(vt.ROOT, "tests/boot/dmaprobe.asm")], check=True)
    disk = work.file("disk.raw", size=64 * bochs.CYLINDER)
    for command in (["format", disk], ["add", disk, "zeros", "1M"], ["add", disk, "past", "64K"]):
        subprocess.run([vt.VIGIA, "volume", *command], check=True, stdout=subprocess.DEVNULL)
    text = f'- name: probe\n  kernel: {guest}\n  memory: 16M\n  net: [none]\n  disk: ["host:ide0//zeros"]\n'
    with bochs.Bochs(work, pack(work, text, "vigia.iso", "--history", "host:ide0//past"), disk=disk) as vm:
        vm.expect(r"ide0: [^\r]*, 31 MiB, polled", 240)
        vm.expect(r"probe\| all descriptors refused, the disk is as it was", 240)
        vm.send("poweroff\n")
        vm.expect(r"powering off", 60)
    said = subprocess.run([vt.VIGIA, "volume", "history", disk, "past"], capture_output=True, text=True, check=True).stdout
    vt.check("probe console   all descriptors refused" in said, "under VMX a guest reads a disk, and the history is written to it")


with vt.Workdir() as work:
    in_qemu(work)
    if bochs.missing():
        vt.skip(f"VMX is not tried: {bochs.missing()} is missing: tools/packages test")
    on_bochs(work)
