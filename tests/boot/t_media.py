#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Floppies and discs that are changed while a guest reads them, on IDE: what it reads, a door that it
has locked, wrong drives and files, what the history has, and a restore with what was in the drives."""
import os
import shutil
import subprocess
import tempfile
import time

import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")


def change(*args):
    status, _, err = vt.vigia(*args)
    vt.check(status == 0, f"vigia {' '.join(args)[:60]} {err.strip()}")


def refused(says, *args):
    status, _, err = vt.vigia(*args)
    lines = err.strip().splitlines()
    vt.check(status == 1 and len(lines) == 1 and says in lines[0], f"refused: {' '.join(lines)}")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    with vt.Workdir() as w:
        boot, state = w.file("boot.bin"), w.file("pc.state")
        subprocess.run(["nasm", "-f", "bin", "-o", boot, os.path.join(HERE, "media.asm")], check=True)
        with open(boot, "rb") as f:
            disk = w.file("disk", f.read(), 1 << 20)
        floppies = [w.file(f"f{i}", f"floppy {i}".encode(), 1440 << 10) for i in (1, 2)]
        discs = [w.file(f"c{i}", f"disc {i}  ".encode(), 2 << 20) for i in (1, 2)]
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--name", "media", "--floppy", floppies[0],
                   "--cdrom", discs[0], "--disk", f"{disk},if=ide,format=raw", "--boot", "disk") as vm:
            vm.expect(r"ready", 60)
            vm.expect(r"fd =floppy 1", 30)
            vm.expect(r"cd =disc 1", 30)
            for drive, files, name in (("fd0", floppies, "fd =floppy"), ("cd0", discs, "cd =disc")):
                change("insert", "media", drive, files[1])
                vm.expect(rf"{name} 2", 30)
                change("eject", "media", drive)
                vm.expect(rf"{drive[:2]} =none", 30)
                change("eject", "media", drive)
                change("insert", "media", drive, files[0])
                vm.expect(rf"{name} 1", 30)
            print("ok: the guest reads what is in the drives")
            with open(floppies[0], "rb") as f:
                vt.check(f.read(8) == b"floppy 1", "the disks are as they were")
            refused("there is no drive cd1", "insert", "media", "cd1", discs[0])
            refused("there is no drive fd", "eject", "media", "fd")
            refused("is in use", "insert", "media", "fd0", discs[0])
            refused("no image of a floppy disk", "insert", "media", "fd0", discs[1])
            refused("No such file", "insert", "media", "cd0", w.file("nothing"))
            refused("no image of a CD", "insert", "media", "cd0", w.file("empty", b""))
            refused("neither a file", "insert", "media", "cd0", "/dev/null")
            vm.send("l")
            vm.expect(r"door", 30)
            refused("has locked the door", "insert", "media", "cd0", discs[1])
            refused("has locked the door", "eject", "media", "cd0")
            change("insert", "--force", "media", "cd0", discs[1])
            vm.expect(r"cd =disc 2", 30)
            vm.send("l")
            vm.expect(r"door", 30)
            refused("has locked the door", "eject", "media", "cd0")
            vm.send("u")
            vm.expect(r"door", 30)
            change("eject", "media", "cd0")
            vm.expect(r"cd =none", 30)
            change("insert", "media", "cd0", discs[0])
            vm.expect(r"cd =disc 1", 30)
            change("insert", "media", "fd0", floppies[1])
            vm.expect(r"fd =floppy 2", 30)
            change("eject", "media", "fd0")
            vm.expect(r"fd =none", 30)
            change("insert", "media", "cd0", discs[1])
            vm.expect(r"cd =disc 2", 30)
            change("save", "media", state)
            vm.process.wait(20)
        status, out, _ = vt.vigia("history", "media", "--class", "operator")
        vt.check(status == 0 and "insert by uid" in out and "eject by uid" in out and "c2" in out,
                 "the history has who changed what")
        with vt.restored(state) as vm:
            for _ in range(100):  # until it is there
                if vt.vigia("stats", "media")[0] == 0:
                    break
                time.sleep(0.1)
            change("insert", "media", "fd0", floppies[0])
            vm.expect(r"fd =floppy 1", 30)
            change("insert", "media", "cd0", discs[0])
            vm.expect(r"cd =disc 1", 30)
            change("save", "media", state)
            vm.process.wait(20)
        os.rename(discs[0], discs[0] + ".gone")
        refused("c1", "restore", state)


if __name__ == "__main__":
    main()
