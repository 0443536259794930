#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks behind IDE under the bare-metal hypervisor: two Debian guests use the two of a channel at once, in QEMU, and one of them has
a sector that cannot be read. On Bochs, under VMX, a guest reads one, and the history is written to it."""
import os
import subprocess

import vigia_test as vt
from baremetal import QEMU, Machine, assemble, bochs, linux, need, need_vmx, pack, small

MIB = 1 << 20
BAD = 10000  # sector, behind what guests write

need(QEMU, "nasm")


def in_qemu(work):
    fleet = "".join(linux(f"vm{i}", f"vigia.run=disk{run} vigia.bad={BAD}", f'disk: ["host:ide{i}"]', end="poweroff")
                    for i, run in enumerate((",bad", "")))
    args, files = [], []
    for i in range(2):
        files.append(work.file(f"disk{i}", size=16 * MIB))
        bad = f",inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector={BAD}" if not i else ""
        args += ["-blockdev", f"driver=file,node-name=f{i},filename={files[i]}", "-blockdev",
                 f"driver=blkdebug,node-name=d{i},image=f{i}{bad}", "-device", f"ide-hd,drive=d{i},bus=ide.0,unit={i},serial=SN-{i}"]
    with Machine(pack(work.file("fleet.cpio"), fleet, "--poweroff"), *args, kind="pc", smp=2) as vm:
        for i in range(2):
            vm.expect(rf"ide{i}: QEMU HARDDISK, serial number SN-{i}, 16 MiB, polled", 60)
        for what in (r"vm0\| VIGIA disk ok", r"vm1\| VIGIA disk ok", r"vm0\| VIGIA bad sector alone is bad"):
            vm.said(what, 400)
        vm.wait(120)
    for path in files:
        with open(path, "rb") as f:
            data = f.read()
        vt.check(any(data[:4 * MIB]) and not any(data[4 * MIB:]), "what a guest has written is in the file, where it should be")
    print("ok: two disks of a channel, at once")


def on_bochs(work):
    disk = work.file("disk.raw", size=64 * bochs.CYLINDER)
    for command in (["format", disk], ["add", disk, "zeros", "1M"], ["add", disk, "past", "64K"]):
        subprocess.run([vt.VIGIA, "volume", *command], check=True, stdout=subprocess.DEVNULL)
    probe = small("probe", assemble(work.file("dmaprobe"), "boot/dmaprobe.asm"), 'disk: ["host:ide0//zeros"]')
    with bochs.Bochs(work, pack(work.file("vigia.iso"), probe, "--history", "host:ide0//past"), disk=disk) as vm:
        vm.expect(r"ide0: [^\r]*, 31 MiB, polled", 240)
        vm.expect(r"probe\| all descriptors refused, the disk is as it was", 240)
        vm.send("poweroff\n")
        vm.expect(r"powering off", 60)
    said = subprocess.run([vt.VIGIA, "volume", "history", disk, "past"], capture_output=True, text=True, check=True).stdout
    vt.check("probe console   all descriptors refused" in said, "under VMX a guest reads a disk, and the history is written to it")


with vt.Workdir() as work:
    in_qemu(work)
    need_vmx()
    on_bochs(work)
