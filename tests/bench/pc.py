#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""pc: what the PC board costs beside QEMU's (TCG, the same firmware, disks and guest). Prints lines for
doc/guests.md, minima of interleaved rounds; needs a build in build/ (or VIGIA).

  tests/bench/pc.py [ROUNDS]

boot: SeaBIOS to a boot sector's first words. Reads: Linux' ata_piix by DMA, 64 KiB at a time past its cache,
as its own clock says; the images are in the host's page cache."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../boot"))
import linuxdisk
import t_pc_bios
import vigia_test as vt
from machine import Machine

MIB = 256


def command(host, memory, disk, cd=None):
    if host == "tcg":
        c = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-M", "pc", "-m", str(memory), "-nographic", "-vga",
             "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none", "-device",
             "isa-debug-exit,iobase=0xf4", "-drive", f"file={disk},if=ide,index=0,format=raw,snapshot=on"]
        return c + (["-drive", f"file={cd},if=ide,index=2,media=cdrom,format=raw"] if cd else [])
    c = [vt.VIGIA, "run", "--board", "pc", "--engine", "soft", "--memory", f"{memory}M", "--net", "none", "--control", "off",
         "--exit-port", "0xf4", "--boot", "disk", "--disk", f"{disk},if=ide,format=raw,snapshot"]
    return c + (["--cdrom", f"{cd},if=ide"] if cd else [])


def cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return sum(int(n) for n in f.read().rsplit(") ", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")


def boot(host, disk):
    with Machine(command(host, 64, disk)) as m:
        wall = m.expect(rb"BOOT drive=")
        return {"boot: seconds": wall, "boot: seconds of CPU": cpu(m.p.pid)}


def reads(host, disk, cd):
    got = {}
    with Machine(command(host, 192, disk, cd)) as m:
        for name, what in (("sda", "IDE disk"), ("sr0", "IDE CD")):
            m.expect(rb"VIGIA reading " + name.encode())
            start, begun = cpu(m.p.pid), time.monotonic()
            m.expect(rb"VIGIA read " + name.encode())
            got[f"{what}: s for {MIB} MiB"] = time.monotonic() - begun
            got[f"{what}: s of CPU"] = cpu(m.p.pid) - start
    return got


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    best = {}
    image = vt.initramfs("--modules", "ata_piix,sd_mod,sr_mod", "--name", "ide")
    with vt.Workdir() as w:
        sector = t_pc_bios.disk(w, "boot.img", b"speed")
        linux = linuxdisk.make(w, vt.kernel(), image, f"console=ttyS0 quiet vigia.run=reads vigia.mib={MIB}")
        cd = w.file("cd.iso", os.urandom(MIB << 20))
        with open(linux, "r+b") as f:
            f.truncate((MIB + 64) << 20)
        subprocess.run(["cat", linux, cd], stdout=subprocess.DEVNULL, check=True)
        for _ in range(rounds):
            for host in ("vigia", "tcg"):
                for what, value in (boot(host, sector) | reads(host, linux, cd)).items():
                    key = what, host
                    best[key] = min(best.get(key, value), value)
        for what in dict.fromkeys(k[0] for k in best):
            print(f"| {what} | {best[what, 'vigia']:.2f} | {best[what, 'tcg']:.2f} |")


if __name__ == "__main__":
    main()
