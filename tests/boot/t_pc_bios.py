#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The PC board under SeaBIOS: a boot sector of our own, from each kind of disk and from CD, tries
INT 10h, 12h, 13h, 15h and 1Ah; what it wrote is in the image. Then bad firmware files."""
import os
import shutil
import struct
import subprocess
import sys

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
BIOS = "/usr/share/seabios/bios-256k.bin"


def assemble(w, sector, *options):
    out = w.file(f"boot{sector}.bin")
    subprocess.run(["nasm", "-f", "bin", f"-DSECTOR={sector}", *options, "-o", out, os.path.join(HERE, "bootsect.asm")],
                   check=True)
    with open(out, "rb") as f:
        return f.read()


def disk(w, name, sector_text):
    image = assemble(w, 512) + sector_text.ljust(512, b"\0") + bytes(512)
    return w.file(name, image, 1 << 20)


def floppy(w, kib, spt, sector_text):
    image = assemble(w, 512, f"-DFLOPPY={spt}") + sector_text.ljust(512, b"\0")
    return w.file("floppy", image, kib << 10)


def iso(w, sector_text, name="boot.iso", catalogue=19, boot_at=20, sectors=4, media=0):
    """The least that El Torito asks for: volume descriptors, boot catalogue, no emulation. Or what is no good."""
    boot = assemble(w, 2048)
    image = bytearray(22 * 2048)
    image[16 * 2048:16 * 2048 + 7] = b"\1CD001\1"
    image[16 * 2048 + 80:16 * 2048 + 88] = struct.pack("<I", 22) + struct.pack(">I", 22)
    image[17 * 2048:17 * 2048 + 7] = b"\0CD001\1"
    image[17 * 2048 + 7:17 * 2048 + 7 + 23] = b"EL TORITO SPECIFICATION"
    image[17 * 2048 + 71:17 * 2048 + 75] = struct.pack("<I", catalogue)
    image[18 * 2048:18 * 2048 + 7] = b"\xffCD001\1"
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"VIGIA", 0, 0x55, 0xaa))
    total = sum(struct.unpack("<16H", validation)) & 0xffff
    validation[28:30] = struct.pack("<H", -total & 0xffff)
    image[19 * 2048:19 * 2048 + 32] = validation
    image[19 * 2048 + 32:19 * 2048 + 44] = struct.pack("<BBHBBHI", 0x88, media, 0, 0, 0, sectors, boot_at)
    image[20 * 2048:20 * 2048 + 512] = boot
    image[21 * 2048:21 * 2048 + len(sector_text)] = sector_text
    return w.file(name, bytes(image))


def boot(*args, expect, drive):
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", *args) as vm:
        vm.expect(rf"BOOT drive={drive} low=02.. high=0[0-9A-F]+ map=003F sector={expect} services o", 60)
        vm.wait(30, 33)
        print(f"ok: {args[1]}")


def bad_discs(w, good):
    """Boot catalogues that make no sense, discs that end early: the firmware goes on to the next, the VM is well."""
    bad = {
        "a catalogue beyond the disc": iso(w, b"", "a.iso", catalogue=0xfffffff0),
        "a program beyond the disc": iso(w, b"", "b.iso", boot_at=0x7ffffff0),
        "more sectors than there are": iso(w, b"", "c.iso", sectors=0xffff, boot_at=21),
        "an unknown kind of medium": iso(w, b"", "e.iso", media=15, boot_at=0x1000),
    }
    with open(iso(w, b"", "f.iso"), "rb") as f:
        bad["a disc that ends within its catalogue"] = w.file("g.iso", f.read(19 * 2048 + 100))
    bad["noise"] = w.file("h.iso", os.urandom(22 * 2048))
    for what, path in bad.items():
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", "--boot", "cdrom,disk",
                   "--cdrom", path, "--disk", f"{good},if=ide,format=raw") as vm:
            vm.expect("BOOT drive=80 .*sector=from-disk services o", 60)
            vm.wait(30, 33)
            print(f"ok: {what}")


def menu(cd, other):
    """ESC shows what there is to boot from, a digit chooses it."""
    for _ in range(5):  # the firmware waits 2.5 seconds for the key, which a busy host can miss
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--exit-port", "0xf4", "--boot", "disk,cdrom,menu",
                   "--cdrom", cd, "--disk", f"{other},if=ide,format=raw") as vm:
            vm.expect("Press ESC for boot menu", 60)
            vm.send("\x1b")
            if vm.expect("Select boot device|BOOT drive=80", 60).group(0) != b"Select boot device":
                continue
            digit = vm.expect(r"(\d)\. DVD/CD", 30).group(1)
            vm.expect(r"\r?\n", 30)
            vm.send(digit)
            vm.expect("BOOT drive=E0 .*sector=text-on-cd", 60)
            vm.wait(30, 33)
            print("ok: the boot menu")
            return
    vt.fail("the boot menu does not come")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        for kind in ("ide", "ahci", "virtio", "nvme"):
            text = f"text-on-{kind}".encode()
            path = disk(w, kind, text)
            boot("--disk", f"{path},if={kind},format=raw", expect=text.decode(), drive="80")
            with open(path, "rb") as f:
                f.seek(1024)
                vt.check(f.read(len(text)) == text, f"{kind}: the sector is written")
        cd = iso(w, b"text-on-cd")
        boot("--cdrom", cd, expect="text-on-cd", drive="E0")
        boot("--cdrom", f"{cd},if=ahci", expect="text-on-cd", drive="E0")
        for kib, spt in ((320, 8), (360, 9), (640, 8), (720, 9), (1200, 15), (1440, 18), (1476, 18), (2880, 36)):
            text = f"floppy-{kib}".encode()
            path = floppy(w, kib, spt, text)
            boot("--floppy", path, "--boot", "floppy", expect=text.decode(), drive="00")
            with open(path, "rb") as f:
                f.seek(1024)
                vt.check(f.read(len(text)) == text, f"floppy {kib}: the sector is written")
        with vt.VM("--floppy", w.file("odd", size=1000 << 10), "--net", "none") as vm:
            vm.wait(20, 1)
            vt.check("no image of a floppy disk" in vm.stderr(), "a floppy of an odd size")
        # The order that was asked for, not the first that is there.
        path = disk(w, "second", b"from-disk")
        boot("--cdrom", cd, "--disk", f"{path},if=ide,format=raw", "--boot", "disk,cdrom",
             expect="from-disk", drive="80")
        menu(cd, path)
        bad_discs(w, path)
        for size, what in ((0, "is empty"), (1000, "multiple of 4 KiB"), (17 << 20, "at most 16 MiB")):
            rom = w.file("rom", size=size)
            with vt.VM("--board", "pc", "--firmware", rom, "--net", "none") as vm:
                vm.wait(20, 1)
                vt.check(what in vm.stderr(), f"a ROM of {size} bytes: {what}")


if __name__ == "__main__":
    sys.exit(main())
