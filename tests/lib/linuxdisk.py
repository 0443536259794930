# SPDX-License-Identifier: ISC
"""linuxdisk: a disk from which a BIOS boots a Linux kernel, by the boot sector tests/boot/linuxboot.asm."""
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
