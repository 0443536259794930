#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor's drivers for the machine's disks, virtio, AHCI and NVMe: guests read and write whole disks and
partitions, and the files behind have it afterwards, each only where it should."""
import os
import shutil
import struct
import subprocess

import vigia_test as vt

QEMU = "qemu-system-x86_64"
ELF = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "metal/vigia.elf")
MIB = 1 << 20
DISKS = {  # name, and on what
    "virtio0": "virtio-blk-pci,drive=%s,serial=SN-%s",
    "ahci0": "ide-hd,drive=%s,bus=ide.1,serial=SN-%s",
    "nvme0": "nvme,drive=%s,serial=SN-%s",
}


def machine(image, *args):
    return vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "q35", "-m", "640", "-smp", "2",
                          "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-boot", "d",
                          "-cdrom", image, *args])


def fleet(work, *vms):
    """An image with a Linux guest for each (disk, what it does, its memory in MiB)."""
    text = "".join(f"""
- name: vm{i}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run={run} vigia.end=poweroff
  memory: 96M
  net: [none]
  disk: ["{disk}"]
""" for i, (disk, run) in enumerate(vms))
    out = work.file("fleet.iso")
    r = subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", out, "--poweroff"],
                       capture_output=True, text=True, check=False)
    if r.returncode:
        vt.fail(f"vigia pack: {r.stderr}")
    return out


def mbr(*parts):
    table = b"".join(struct.pack("<B3sB3sII", 0, b"", 0x83, b"", first, n) for first, n in parts)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def marked(size):
    """A disk of which each sector says which it is."""
    return b"".join(struct.pack("<Q", i) * 64 for i in range(size // 512))


if not shutil.which(QEMU):
    vt.skip(f"{QEMU} is missing: tools/packages test")
if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
    vt.skip("grub-mkrescue is missing: tools/packages test")
if not os.path.exists(ELF):
    vt.skip(f"no {ELF}: builds with sanitizers have none")
with vt.Workdir() as work:
    # Two partitions: a guest writes to the second, another one cannot have it, and reads the first
    first, second = (2048, 8192), (16384, 12288)
    before = mbr(first, second) + marked(16 * MIB)[512:]
    files = {name: work.file(name, before) for name in DISKS}
    args = []
    for name, device in DISKS.items():
        args += ["-drive", f"if=none,id={name},format=raw,file={files[name]}", "-device", device % (name, name)]
    vms = [(f"host:{name}/2", "disk") for name in DISKS]
    vms += [("host:SN-ahci0/2", "disk"), ("host:SN-nvme0/1,ro", "sectors")]
    with machine(fleet(work, *vms), *args) as vm:
        for _ in DISKS:
            vm.expect(r"(\w+0): .*, serial number SN-\1, 16 MiB\r", 60)
        vm.expect(r"vm[13]: .*in use", 120)
        print("ok: no two guests get the same part of a disk")
        for _ in range(len(DISKS) + 1):
            vm.expect(rf"vm[0-3]\| VIGIA disk ok|vm4\| VIGIA sectors first={first[0]} n={first[1]} last={sum(first) - 1}\s", 240)
        vm.wait(60)
    for name, path in files.items():
        with open(path, "rb") as f:
            after = f.read()
        lo, hi = second[0] * 512, second[0] * 512 + 4 * MIB
        vt.check(after[:lo] == before[:lo] and after[hi:] == before[hi:], f"{name}: what is not the guest's is as it was")
        vt.check(after[lo:hi] != before[lo:hi], f"{name}: what the guest has written is in the file")
