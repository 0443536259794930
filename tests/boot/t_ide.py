#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""IDE under Linux' own driver: booted by SeaBIOS from the first disk, written and read back, a CD
read whole; one processor and two; and all that Linux asks of the PCI bridge's windows is granted."""
import os
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, cd, cpus):
    log = linuxdisk.read_and_write(w, image, cd, "ide", cpus, "",
                                   ("can't claim", "is immovable", "exception Emask", "failed command", "I/O error"))
    vt.check("PATA max MWDMA2" in log, "the driver finds the bus master")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ata_piix,sd_mod,sr_mod", "--name", "ide")
    with vt.Workdir() as w:
        cd = w.file("cd.iso", os.urandom(5 << 20))
        for cpus in ("1", "2"):
            linux(w, image, cd, cpus)


if __name__ == "__main__":
    main()
