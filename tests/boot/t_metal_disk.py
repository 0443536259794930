#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The bare-metal hypervisor's drivers for the machine's disks, virtio, AHCI and NVMe: guests read and write partitions, and
images in a volume, and the files behind have it afterwards, each only where it should."""
import struct

import vigia_test as vt
from baremetal import QEMU, Machine, linux, need, pack

MIB = 1 << 20
BAD = 10000  # of a guest's partition, behind what it writes
DISKS = {  # name, and on what
    "virtio0": "virtio-blk-pci,drive=%s,serial=SN-%s",
    "ahci0": "ide-hd,drive=%s,bus=ide.1,serial=SN-%s",
    "nvme0": "nvme,drive=%s,serial=SN-%s",
}


def fleet(work, *vms):
    """A module with a Linux guest for each (disk, what it does)."""
    return pack(work.file("fleet.cpio"), "".join(linux(f"vm{i}", f"vigia.run={run} vigia.bad={BAD}", f'disk: ["{disk}"]', end="poweroff")
                                                for i, (disk, run) in enumerate(vms)), "--poweroff")


def mbr(*parts):
    table = b"".join(struct.pack("<B3sB3sII", 0, b"", 0x83, b"", first, n) for first, n in parts)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def marked(size):
    """A disk of which each sector says which it is."""
    return b"".join(struct.pack("<Q", i) * 64 for i in range(size // 512))


def volume(*args, status=0):
    got, out, err = vt.vigia("volume", *args)
    vt.check(got == status, f"vigia volume {' '.join(args[:1] + args[2:])} {err.strip()}")
    return out


def volume_disk(work):
    """A volume, whose image "data" has two extents around another one; gives its path and those extents."""
    path, keep = work.file("volume.raw", size=20 * MIB), work.file("keep.raw", marked(MIB))
    volume("list", path, status=1)
    volume("format", path)
    volume("add", path, "gone", "2M")
    volume("add", path, "keep", "--from", keep)
    volume("add", path, "keep", "1M", status=1)
    volume("remove", path, "gone")
    volume("add", path, "data", "6M")
    volume("add", path, "large", "20M", status=1)
    volume("format", path, status=1)
    last = volume("list", path, "data").split()[-1]
    extents = [tuple(map(int, e.split("+"))) for e in last.split(",")]
    vt.check(len(extents) == 2 and sum(n for _, n in extents) == 6 * MIB // 512, f"two extents: {last}")
    vt.check("1024 KiB  keep" in volume("list", path), "vigia volume list")
    return path, extents


def changed(before, after):
    """The sectors that differ."""
    return {i for i in range(len(before) // 512) if before[i * 512:i * 512 + 512] != after[i * 512:i * 512 + 512]}


need(QEMU)
with vt.Workdir() as work:
    # Two partitions: a guest writes to the second, another one cannot have it, and reads the first
    first, second = (2048, 8192), (16384, 12288)
    before = mbr(first, second) + marked(16 * MIB)[512:]
    files = {name: work.file(name, before) for name in DISKS}
    store, extents = volume_disk(work)
    with open(store, "rb") as f:
        stored = f.read()
    args = []
    for name, device in DISKS.items():
        # With a sector that the disk cannot read
        args += ["-blockdev", f"driver=file,node-name={name}-file,filename={files[name]}", "-blockdev",
                 f"driver=blkdebug,node-name={name},image={name}-file,inject-error.0.event=none,inject-error.0.iotype=read,"
                 f"inject-error.0.sector={second[0] + BAD}", "-device", device % (name, name)]
    args += ["-drive", f"if=none,id=vol,format=raw,file={store}", "-device", "virtio-blk-pci,drive=vol,serial=VOL,vectors=0"]
    vms = [(f"host:{name}/2", "disk,bad") for name in DISKS]
    vms += [("host:SN-ahci0/2", "disk,bad"), ("host:SN-nvme0/1,ro", "sectors"), ("host:VOL//data", "disk"),
            ("host:VOL//none", "disk")]
    with Machine(fleet(work, *vms), *args, memory=1024, smp=2) as vm:
        for _ in range(len(DISKS) + 1):
            vm.expect(r"(\w+[01]): .*, serial number (SN-\1, 16 MiB|VOL, 20 MiB, polled)\r", 60)
        for _ in range(2):
            vm.expect(r"vm[13]: .*in use|vm6: .*image none", 120)
        print("ok: no two guests get the same part of a disk")
        for _ in range(2 * len(DISKS) + 2):
            vm.expect(rf"vm[0-3]\| VIGIA bad sector alone is bad|vm[0-35]\| VIGIA disk ok|vm4\| VIGIA sectors first={first[0]} n={first[1]} last={sum(first) - 1}\s", 240)
        vm.wait(60)
    for name, path in files.items():
        with open(path, "rb") as f:
            after = f.read()
        lo, hi = second[0] * 512, second[0] * 512 + 4 * MIB
        vt.check(after[:lo] == before[:lo] and after[hi:] == before[hi:], f"{name}: what is not the guest's is as it was")
        vt.check(after[lo:hi] != before[lo:hi], f"{name}: what the guest has written is in the file")
    with open(store, "rb") as f:
        sectors = changed(stored, f.read())
    first = {s for s in sectors if extents[0][0] <= s < sum(extents[0])}
    second = {s for s in sectors if extents[1][0] <= s < sum(extents[1])}
    vt.check(len(first) == extents[0][1] and len(second) == 4 * MIB // 512 - len(first) and first | second == sectors,
             "an image in a volume: its extents, one after the other, and nothing else")
