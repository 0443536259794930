#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""IDE under Linux' own driver: booted by SeaBIOS from the first disk, written and read back, a CD
read whole; one processor and two; the ACPI tables by either root; and all that Linux asks of the PCI bridge's windows is granted."""
import os
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, cd, cpus, more, root):
    log = linuxdisk.read_and_write(w, image, cd, "ide", cpus, more,
                                   ("can't claim", "is immovable", "exception Emask", "failed command", "I/O error"))
    vt.check("PATA max MWDMA2" in log, "the driver finds the bus master")
    vt.check(f"ACPI: {root} 0x" in log, f"it found the ACPI tables by the {root}")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ata_piix,sd_mod,sr_mod", "--name", "ide")
    with vt.Workdir() as w:
        cd = w.file("cd.iso", os.urandom(5 << 20))
        linux(w, image, cd, "1", "", "XSDT")
        linux(w, image, cd, "2", "acpi=rsdt", "RSDT")


if __name__ == "__main__":
    main()
