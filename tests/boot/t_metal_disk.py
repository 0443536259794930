#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor's drivers for the machine's disks: guests read and write whole disks, partitions and images
on them, and the files behind have it afterwards, each only where it should."""
import os
import shutil
import subprocess

import vigia_test as vt

QEMU = "qemu-system-x86_64"
ELF = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "metal/vigia.elf")
MIB = 1 << 20
KINDS = {
    "virtio": ("virtio0", lambda f: ["-drive", f"if=none,id=d,format=raw,file={f}", "-device",
                                     "virtio-blk-pci,drive=d,serial=SN1"]),
}


def machine(*args):
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "q35", "-m", "384", "-smp", "2",
                          "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", *args])


def fleet(work, disks):
    text = "".join(f"""
- name: vm{i}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run={run} vigia.end=poweroff
  memory: 96M
  net: [none]
  disk: ["{disk}"]
""" for i, (disk, run) in enumerate(disks))
    out = work.file("fleet.cpio")
    r = subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", out, "--poweroff"],
                       capture_output=True, text=True, check=False)
    if r.returncode:
        vt.fail(f"vigia pack: {r.stderr}")
    return out


if not shutil.which(QEMU):
    vt.skip(f"{QEMU} is missing: tools/packages test")
if not os.path.exists(ELF):
    vt.skip(f"no {ELF}: builds with sanitizers have none")
with vt.Workdir() as work:
    for kind, (name, args) in KINDS.items():
        disk = work.file("disk.raw", size=16 * MIB)
        with machine("-kernel", ELF, "-initrd", fleet(work, [("host:" + name, "disk")]), *args(disk)) as vm:
            vm.expect(rf"{name}: .*, 16 MiB", 60)
            vm.expect(r"vm0\| VIGIA disk ok", 120)
            vm.wait(60)
        print(f"ok: {kind}")
