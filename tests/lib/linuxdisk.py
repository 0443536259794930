# SPDX-License-Identifier: ISC
"""linuxdisk: a disk from which a BIOS boots a Linux kernel, by the boot sector tests/boot/linuxboot.asm."""
import hashlib
import os
import struct
import subprocess

import vigia_test as vt


def make(w, kernel, initrd, cmdline):
    """Path of a raw image in the work folder w."""
    sector = w.file("linuxboot.bin")
    subprocess.run(["nasm", "-f", "bin", "-o", sector, os.path.join(vt.ROOT, "tests/boot/linuxboot.asm")],
                   check=True)
    with open(sector, "rb") as f:
        boot = f.read()
    with open(kernel, "rb") as f:
        image = f.read()
    with open(initrd, "rb") as f:
        ram_disk = f.read()
    setup = ((image[0x1f1] or 4) + 1) * 512
    parts, table, at = [image[:setup], image[setup:], ram_disk], b"", 2
    for part in parts:
        sectors = (len(part) + 511) // 512
        table += struct.pack("<II", at, sectors)
        at += sectors
    table = (table + struct.pack("<I", len(ram_disk))).ljust(64, b"\0") + cmdline.encode()
    if len(table) > 511:
        vt.fail("the command line is too long for the boot sector's table")
    body = b"".join(part.ljust((len(part) + 511) // 512 * 512, b"\0") for part in parts)
    return w.file("linux.img", boot + table.ljust(512, b"\0") + body, (at + 1) * 512)


def read_and_write(w, image, cd, interface, cpus, more, never):
    """Linux on the PC board, booted from a disk at that interface, writes it and reads it back, and reads a CD whole.
    more: of its command line; never: what may not be in its log, which is returned."""
    disk = make(w, vt.kernel(), image, f"console=ttyS0 vigia.run=disk,cd,log,eject vigia.disk=sda {more}")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--cpus", cpus, "--boot", "disk",
               "--disk", f"{disk},if={interface},format=raw",
               "--cdrom", f"{cd},if={interface}") as vm:
        vm.expect("VIGIA disk ok", 120)
        got = vm.expect("VIGIA cd ([0-9a-f]{32})", 60).group(1).decode()
        with open(cd, "rb") as f:
            vt.check(got == hashlib.md5(f.read()).hexdigest(), "the CD came unchanged")
        vm.expect("VIGIA eject ok", 60)
        vm.expect("VIGIA end", 60)
        log = vm.output.decode(errors="replace")
        for bad in (*never, "eject did nothing"):
            vt.check(bad not in log, f"no {bad}")
        vm.wait(60)
    with open(disk, "rb") as f:
        vt.check(f.read(512)[-2:] != b"\x55\xaa", "what was written is in the image")
    return log
