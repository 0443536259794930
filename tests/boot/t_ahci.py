#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""AHCI under Linux' own driver: booted by SeaBIOS from the first port, a disk with queued commands written
and read back, a CD read whole; two processors, message-signalled interrupts and a pin."""
import os
import re
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, cd, more, interrupt):
    log = linuxdisk.read_and_write(w, image, cd, "ahci", "2", "quiet " + more,
                                   ("exception Emask", "failed command", "hard resetting", "I/O error"))
    for line in ("64bit ncq", "NCQ (depth 32)", "SATA link up 3.0 Gbps"):
        vt.check(line in log, f"the driver says {line}")
    vt.check(re.search(rf"{interrupt} .*ahci", log), f"interrupts by {interrupt}")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ahci,sd_mod,sr_mod", "--name", "ahci")
    with vt.Workdir() as w:
        cd = w.file("cd.iso", os.urandom(5 << 20))
        linux(w, image, cd, "", "PCI-MSI")
        linux(w, image, cd, "pci=nomsi", "IO-APIC")


if __name__ == "__main__":
    main()
