#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks of the bare-metal hypervisor: guests are killed while slow disks have their requests, and start again. Started by
UEFI, which has used the disks before."""
import os
import shutil
import subprocess
import time

import vigia_test as vt

QEMU = "qemu-system-x86_64"
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
ELF = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "metal/vigia.elf")
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
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "q35", "-m", "768", "-smp", "2",
                          "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-boot", "d",
                          "-cdrom", image, *args])


if not shutil.which(QEMU) or not os.path.exists(OVMF) or not shutil.which("grub-mkrescue"):
    vt.skip(f"{QEMU}, OVMF or grub-mkrescue is missing: tools/packages test")
if not os.path.exists(ELF):
    vt.skip(f"no {ELF}: builds with sanitizers have none")
with vt.Workdir() as work:
    text = "".join(f"""
- name: on-{name}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=disk vigia.end=shell
  memory: 96M
  net: [none]
  disk: ["host:{name}"]
""" for name in DISKS)
    image = work.file("fleet.iso")
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", image], check=True, capture_output=True)
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
