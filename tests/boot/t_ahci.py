#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""AHCI under Linux' own driver: booted by SeaBIOS from the first port, a disk with queued commands written
and read back, a CD read whole; two processors, message-signalled interrupts and a pin."""
import hashlib
import os
import re
import shutil

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"


def linux(w, image, cd, more, interrupt):
    disk = linuxdisk.make(w, vt.kernel(), image, f"console=ttyS0 quiet vigia.run=disk,cd,log vigia.disk=sda {more}")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--cpus", "2", "--boot", "disk",
               "--disk", f"{disk},if=ahci,format=raw",
               "--cdrom", f"{cd},if=ahci") as vm:
        vm.expect("VIGIA disk ok", 120)
        got = vm.expect("VIGIA cd ([0-9a-f]{32})", 60).group(1).decode()
        with open(cd, "rb") as f:
            vt.check(got == hashlib.md5(f.read()).hexdigest(), "the CD came unchanged")
        vm.expect("VIGIA end", 60)
        log = vm.output.decode(errors="replace")
        for line in ("64bit ncq", "NCQ (depth 32)", "SATA link up 3.0 Gbps"):
            vt.check(line in log, f"the driver says {line}")
        vt.check(re.search(rf"{interrupt} .*ahci", log), f"interrupts by {interrupt}")
        for bad in ("exception Emask", "failed command", "hard resetting", "I/O error"):
            vt.check(bad not in log, f"no {bad}")
        vm.wait(60)
    with open(disk, "rb") as f:
        vt.check(f.read(512)[-2:] != b"\x55\xaa", "what was written is in the image")


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
