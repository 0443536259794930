#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""IDE under Linux' own driver: booted by SeaBIOS from the first disk, written and read back, a CD
read whole; one processor and two; and all that Linux asks of the PCI bridge's windows is granted."""
import hashlib
import os
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, cd, cpus):
    disk = linuxdisk.make(w, vt.kernel(), image, "console=ttyS0 vigia.run=disk,cd,log vigia.disk=sda")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--cpus", cpus, "--boot", "disk",
               "--disk", f"{disk},if=ide,format=raw",
               "--cdrom", f"{cd},if=ide") as vm:
        vm.expect("VIGIA disk ok", 120)
        got = vm.expect("VIGIA cd ([0-9a-f]{32})", 60).group(1).decode()
        with open(cd, "rb") as f:
            vt.check(got == hashlib.md5(f.read()).hexdigest(), "the CD came unchanged")
        vm.expect("VIGIA end", 60)
        log = vm.output.decode(errors="replace")
        vt.check("PATA max MWDMA2" in log, "the driver finds the bus master")
        for bad in ("can't claim", "is immovable", "exception Emask", "failed command", "I/O error"):
            vt.check(bad not in log, f"no {bad}")
        vm.wait(60)
    with open(disk, "rb") as f:
        vt.check(f.read(512)[-2:] != b"\x55\xaa", "what was written is in the image")


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
