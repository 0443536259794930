#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor with Intel's IOMMU and with AMD's, as QEMU emulates them: guests use disks behind each of the drivers,
no access is refused meanwhile; a disk that is told to write elsewhere is refused, which is said; without an IOMMU there is none."""
import time

import vigia_test as vt
from baremetal import QEMU, Machine, need, on_disks

DISKS = {
    "virtio0": "virtio-blk-pci,drive=virtio0,iommu_platform=on,disable-legacy=on",
    "ahci0": "ide-hd,drive=ahci0,bus=ide.1",
    "nvme0": "nvme,drive=nvme0,serial=SN-nvme0",
}

need(QEMU)


def try_iommu(work, iommu, told, names):
    image, disks = on_disks(work, names), devices(work, names)
    with Machine(image, "-device", iommu, *disks, memory=1024, smp=2) as vm:
        vm.said(r"iommu: devices reach only what is meant for them \(1 units\)", 120)
        vm.said(r"goes past it, and reaches all memory", 60)
        for name in names:
            vm.said(rf"on-{name}\| VIGIA disk ok", 400)
        vm.send("iommu\n")
        vm.expect(r"1 units, 0 accesses refused\s", 60)
        vt.check(b"may not" not in vm.output, "guests use their disks, and nothing is refused")
        reach = {}
        for _ in range(len(names) + 1):  # with the disk that goes past
            m = vm.expect(r"([0-9a-f:.]{7}) reaches (\d+) KiB, 0 refused\s", 30)
            reach[m[1]] = int(m[2])
        vt.check(sum(96 << 10 < kib < 98 << 10 for kib in reach.values()) == len(names), f"each reaches one VM and its driver's memory: {reach}")
        vm.send("kill on-nvme0\n")
        vm.said(r"on-nvme0: killed", 60)
        vm.send("iommu check nvme0\n")
        refused = int(vm.expect(r"nvme0: what is not its own it does not reach, (\d+) refused\s", 60)[1])
        # QEMU's AMD IOMMU (7.2) tells nothing of pages that are not mapped
        vt.check(not told or refused and b"may not write memory at 0x" in vm.output,
                 f"what is not the disk's it cannot write: {refused} accesses refused, and said")
        limit = time.monotonic() + 60 * vt.PATIENCE
        held = len(names)
        while held == len(names) and time.monotonic() < limit:  # its memory is cleared first
            vm.send("iommu\n")
            vm.expect(r"1 units, \d+ accesses refused\s", 60)
            held = sum(int(vm.expect(r" reaches (\d+) KiB, \d+ refused\s", 30)[1]) > 96 << 10 for _ in range(len(names) + 1))
        vt.check(held == len(names) - 1, "the memory of a VM that has ended is no disk's")
        vm.send("console on-ahci0\n\n")
        status, _ = vm.shell("dd if=/dev/vda of=/dev/null bs=64k count=16", 60)
        vt.check(status == 0, "the others go on")


def devices(work, names):
    disks = []
    for name in names:
        disks += ["-drive", f"if=none,id={name},format=raw,file={work.file(name, size=16 << 20)}", "-device", DISKS[name]]
    # One that is not told to use the IOMMU goes past it
    return disks + ["-drive", f"if=none,id=past,format=raw,file={work.file('past', size=1 << 20)}", "-device", "virtio-blk-pci,drive=past"]


with vt.Workdir() as work:
    try_iommu(work, "intel-iommu,intremap=off", True, list(DISKS))
    print("ok: Intel's")
    try_iommu(work, "amd-iommu", False, ["ahci0", "nvme0"])  # page tables are the same code
    print("ok: AMD's")
    with Machine(on_disks(work, ["nvme0"]), memory=1024, smp=2) as vm:
        vm.expect(r"on-nvme0: not found: disk nvme0", 120)
        vm.send("iommu check nvme0\niommu\n")
        vm.expect(r"0 units, 0 accesses refused\s", 60)
        print("ok: a machine without an IOMMU works as before")
