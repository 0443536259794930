#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks of the bare-metal hypervisor: guests are killed while slow disks have their requests, and start again. Started by
UEFI, which has used the disks before."""
import os
import time

import vigia_test as vt
from baremetal import QEMU, Machine, need, on_disks

OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
DISKS = {
    "virtio0": "virtio-blk-pci,drive=%s",
    "ahci0": "ide-hd,drive=%s,bus=ide.1",
    "nvme0": "nvme,drive=%s,serial=%s",
}


def machine(work, image, rate, *args):
    args = list(args)
    for name, device in DISKS.items():
        path = work.file(name, size=16 << 20)
        args += ["-drive", f"if=none,id={name},format=raw,file={path},throttling.bps-total={rate}",
                 "-device", device.replace("%s", name)]
    return Machine(image, *args, memory=768, smp=2)


need(QEMU, "grub-mkrescue")
if not os.path.exists(OVMF):
    vt.skip(f"{OVMF} is missing: tools/packages test")
with vt.Workdir() as work:
    image = on_disks(work, DISKS, "fleet.iso")
    with machine(work, image, 1000000, "-bios", OVMF) as vm:
        for _ in DISKS:
            vm.expect(r"on-\w+\| VIGIA init", 300)
        time.sleep(10)
        for name in DISKS:
            vm.send(f"kill on-{name}\n")
            vm.expect(rf"on-{name}: killed", 60)
        time.sleep(30)  # until the disks have given all requests back
        for name in DISKS:
            vm.send(f"start on-{name}\n")
            vm.expect(rf"on-{name}\| VIGIA init", 300)
        vm.send("poweroff\n")
        vm.wait(120)
        print("ok: guests are killed while their requests are under way, and start again")
